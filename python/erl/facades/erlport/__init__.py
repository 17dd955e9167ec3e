"""ErlPort's Python API on top of `erl`, so that modules written for ErlPort run here as they are.

A worker finds this package under the name `erlport`, where no other one is installed; under that name only it is
meant to be imported. Written from ErlPort's public documentation.
"""

from __future__ import annotations

from .erlterms import Atom, ImproperList, List

__all__ = ["Atom", "ImproperList", "List"]

__version__ = "1.0"  # what ErlPort 0.11 says of itself
