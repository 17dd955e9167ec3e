"""Values that hypothesis makes: of all types, of Haystack's kinds, and what is in them."""

from __future__ import annotations

import collections
import datetime as dt
import zoneinfo
from typing import Any

from hypothesis import strategies as st

from erl.haystack import NA, Coord, Grid, Marker, Number, Ref, Remove, Timestamp, Uri
from erl.terms import Atom, BitString, ImproperList

CONSTANTS = ("undefined", "true", "false")
atoms = st.text(max_size=255).filter(lambda name: name not in CONSTANTS).map(Atom)
integers = st.one_of(
    st.integers(),
    st.integers(-(2**33), 2**33),
    st.integers(0, 300),
    st.integers(1, 2100).flatmap(lambda bits: st.integers(-(2**bits) - 1, 2**bits + 1)),
)
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.one_of(
    st.none(),
    st.sampled_from([dt.timezone.utc, *map(zoneinfo.ZoneInfo, ("Europe/Paris", "Asia/Tokyo", "UTC"))]),
    st.integers(-86399, 86399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds))),
)
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    floats,
    atoms,
    st.builds(BitString, st.binary(min_size=1, max_size=5), st.integers(1, 7)),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.complex_numbers(allow_nan=False),
    st.builds(range, st.integers(0, 9)),
)
other_leaves = st.one_of(
    st.datetimes(timezones=zones),
    st.times(timezones=zones),
    st.binary().map(bytearray),
    st.decimals(allow_nan=True),
)


def values_of(strings: st.SearchStrategy[Any], key_strings: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nested values whose strings, and strings in keys and sets, are these."""
    keys = st.recursive(
        hashable_leaves | key_strings,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=4,
    )

    def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        dicts = st.dictionaries(keys, inner, max_size=5)
        return st.one_of(
            st.lists(inner, max_size=5),
            st.lists(inner, max_size=5).map(tuple),
            dicts,
            *(
                dicts.map(kind)
                for kind in (collections.OrderedDict, collections.UserDict, collections.ChainMap)
            ),
            st.sets(keys, max_size=5),
            st.builds(ImproperList, st.lists(inner, min_size=1, max_size=3), hashable_leaves),
        )

    leaves = hashable_leaves | other_leaves | strings | st.lists(floats | integers)
    return st.recursive(leaves, containers, max_leaves=20)


text_values = values_of(st.text(), st.text())
bytes_values = values_of(st.binary(), st.text(st.characters()) | st.binary())


# Of Haystack

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
some = texts.filter(bool)
numbers = st.integers() | st.floats()
scalars = st.one_of(
    st.sampled_from([Marker(), NA(), Remove()]),
    st.builds(Number, numbers, some),
    st.builds(Ref, some, st.none() | texts),
    texts.map(Uri),
    st.builds(Coord, st.floats(-90, 90), st.floats(-180, 180)),
    st.builds(Timestamp, st.integers(), zones),
)


@st.composite
def grids(draw: st.DrawFn, cells: st.SearchStrategy[Any]) -> Grid:
    metas = st.dictionaries(some, cells, max_size=2)
    cols = draw(st.lists(st.tuples(some, metas), max_size=3, unique_by=lambda col: col[0]))
    size = len(cols)
    rows = draw(st.lists(st.lists(cells, min_size=size, max_size=size), max_size=4))
    return Grid(cols, rows, draw(metas))


haystack_values = st.recursive(
    scalars | hashable_leaves | texts,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(some | scalars, inner, max_size=4),
        st.sets(scalars, max_size=4),
        grids(inner),
    ),
    max_leaves=12,
)
