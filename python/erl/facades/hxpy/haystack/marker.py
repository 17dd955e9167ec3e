"""`hxpy.haystack.marker.Marker`."""

from __future__ import annotations

from erl.haystack import Marker

__all__ = ["Marker"]
