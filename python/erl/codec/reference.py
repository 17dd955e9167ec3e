"""The codec in Python, always there: containers and common leaves by itself, rare leaves by way of erlang-
py.
"""

from __future__ import annotations

from erl.codec.options import Options
from erl.codec.reader import Reader, decode
from erl.codec.writer import encode, encode_into

__all__ = ["Options", "Reader", "decode", "encode", "encode_into"]

implementation = "reference"
