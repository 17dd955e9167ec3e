"""Where a program begins."""

from __future__ import annotations

from erl.dataflow import Twister2Environment

__all__ = ["Twister2Environment"]
