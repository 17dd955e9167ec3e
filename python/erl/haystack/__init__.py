"""Project Haystack's kinds of values that Python has no type for, and its grids.

`Marker()`, `NA()` and `Remove()` are one object each. A number with a unit is a `Number`, one without is an `int` or
a `float`; null is `None`; Bool, Str, Date, Time, DateTime, Buf, List and Dict are Python's own types. A `Grid` is made
by a `GridBuilder`, or of a data frame by `Grid.from_dataframe`. The codec maps all of them in a call with the option
`haystack => true`.
"""

from __future__ import annotations

from erl.haystack.grid import Col, Grid, GridBuilder, Row
from erl.haystack.values import NA, Coord, Marker, Number, Ref, Remove, Timestamp, Uri

__all__ = [
    "NA",
    "Col",
    "Coord",
    "Grid",
    "GridBuilder",
    "Marker",
    "Number",
    "Ref",
    "Remove",
    "Row",
    "Timestamp",
    "Uri",
]
