"""`hxpy.haystack.remove.Remove`."""

from __future__ import annotations

from erl.haystack import Remove

__all__ = ["Remove"]
