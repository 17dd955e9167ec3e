"""`hxpy.haystack.ref.Ref`."""

from __future__ import annotations

from erl.haystack import Ref

__all__ = ["Ref"]
