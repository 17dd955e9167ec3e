"""`hxpy.haystack`: the kinds, each in a module of its own, and here as well."""

from __future__ import annotations

from erl.haystack import NA, Col, Coord, Grid, GridBuilder, Marker, Number, Ref, Remove, Row, Uri

__all__ = ["NA", "Col", "Coord", "Grid", "GridBuilder", "Marker", "Number", "Ref", "Remove", "Row", "Uri"]
