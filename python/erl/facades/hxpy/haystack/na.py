"""`hxpy.haystack.na.NA`."""

from __future__ import annotations

from erl.haystack import NA

__all__ = ["NA"]
