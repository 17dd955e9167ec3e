"""`hxpy.haystack.grid.Grid`, and what makes one."""

from __future__ import annotations

from erl.haystack import Col, Grid, GridBuilder, Row

__all__ = ["Col", "Grid", "GridBuilder", "Row"]
