"""Arrays of numpy, both ways: `{"ndarray", {Dtype, Shape, Binary}}` and `{matrix, Rows, Cols, Binary}`.

`Dtype` is a text as numpy writes it (`"<f8"`, `">i4"`, `"<M8[ns]"`, `"|S5"`), or for a record the list of its fields
in the order of their places: `{Name, Dtype, Shape}`, a gap between them as a field without a name. What the texts may
be is listed here: an array holds numbers, texts and times, never objects. `Binary` has the elements in row-major order.
numpy is imported when the first array arrives.
"""

from __future__ import annotations

from math import prod

from erl import errors, terms
from erl.values.payloads import NOT_FIT, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeGuard

_MAX_DIMENSIONS: Final = 64
_MAX_FIELDS: Final = 10_000
_MAX_RECORD_DEPTH: Final = 16
_MAX_ITEM_BYTES: Final = 2**31 - 1
_PLAIN_KINDS: Final = "biufcmMSUV"
_MATRIX_ITEM_BYTES: Final = 8

_DTYPE: Final = (
    r"[<>|]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][0-9]{1,9}"
    r"|[mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)


def array(dtype: object, shape: object, content: object) -> object:
    """An array of one's own, or `NOT_FIT`: the type is none of ours, or the sizes do not agree."""
    if type(content) is not bytes or not _is_shape(shape):
        return NOT_FIT
    found = _dtype(dtype, 0)
    if found is None or not found.itemsize or prod(shape) * found.itemsize != len(content):
        return NOT_FIT
    numpy = _numpy()
    try:
        return numpy.ndarray(shape, found, content).copy()
    except (TypeError, ValueError, OverflowError):
        return NOT_FIT


def matrix(rows: object, columns: object, content: object) -> object:
    """An array of two dimensions from float64, low byte first, row by row; or `NOT_FIT`."""
    shape = (rows, columns)
    if type(content) is not bytes or not _is_shape(shape):
        return NOT_FIT
    if prod(shape) * _MATRIX_ITEM_BYTES != len(content):
        return NOT_FIT
    numpy = _numpy()
    try:
        return numpy.ndarray(shape, "<f8", content).copy()
    except (TypeError, ValueError, OverflowError):
        return NOT_FIT


def over(described: object, buffer: Any, offset: int, nbytes: int) -> object:
    """An array of the type and shape that a term describes, in a buffer of others'; None where they do not fit it."""
    if type(described) is not tuple or len(described) != 2 or not _is_shape(described[1]):
        return None
    found, shape = _dtype(described[0], 0), described[1]
    if found is None or not found.itemsize or prod(shape) * found.itemsize != nbytes:
        return None
    numpy = _numpy()
    try:
        return numpy.ndarray(shape, found, buffer, offset)
    except (TypeError, ValueError, OverflowError):
        return None


def described(dtype: Any) -> object:
    """What describes a type of numpy in a term; None where that would lose something, and for objects."""
    made = _described(dtype, 0)
    if made is None or not dtype.itemsize or _dtype(made, 0) != dtype:
        return None
    return made


def form(value: Any) -> object:
    """The form of an array; None where it would lose something, or hold objects."""
    dtype = described(value.dtype)
    return None if dtype is None else (terms.Tag("ndarray"), (dtype, value.shape, value.tobytes()))


def matrix_form(value: Any) -> object:
    """The form of an array of two dimensions and float64; None for any other array."""
    if value.ndim != 2 or value.dtype.kind != "f" or value.dtype.itemsize != _MATRIX_ITEM_BYTES:
        return None
    if value.dtype.byteorder == ">":
        return None
    rows, columns = value.shape
    return terms.Atom("matrix"), rows, columns, value.astype("<f8", copy=False).tobytes()


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    return (
        type(shape) is tuple
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    )


def _text(term: object) -> str | None:
    """The text in a term, also in one that is on its way out."""
    return str(term) if type(term) is terms.Tag else text(term)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as cause:
        import sys

        raise errors.DecodeError(
            f"an array needs numpy, which {sys.executable} can't import: {cause}"
        ) from None
    return numpy


def _dtype(term: object, depth: int) -> Any:
    """The numpy type that a term describes; None where it describes none."""
    if type(term) is list and term and type(term[0]) is tuple:
        return _record(term, depth)
    name = _text(term)
    if name is None:
        return None
    import re

    if re.fullmatch(_DTYPE, name, re.ASCII) is None:
        return None
    numpy = _numpy()
    try:
        return numpy.dtype(name)
    except (TypeError, ValueError, OverflowError):
        return None


def _record(fields: list[Any], depth: int) -> Any:
    """A type of numpy with fields, each after the one before it."""
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    end = 0
    if depth >= _MAX_RECORD_DEPTH or len(fields) > _MAX_FIELDS:
        return None
    for field in fields:
        if type(field) is not tuple or len(field) != 3 or not _is_shape(field[2]):
            return None
        name, inner, shape = _text(field[0]), _dtype(field[1], depth + 1), field[2]
        if name is None or inner is None:
            return None
        if name:
            names.append(name)
            formats.append((inner, shape) if shape else inner)
            offsets.append(end)
        end += inner.itemsize * prod(shape)
        if end > _MAX_ITEM_BYTES:
            return None
    numpy = _numpy()
    try:
        return numpy.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})
    except (TypeError, ValueError, OverflowError):
        return None


def _described(dtype: Any, depth: int) -> object:
    """What `_dtype` reads as this type; None where there is no such thing."""
    if dtype.hasobject or dtype.metadata is not None or depth > _MAX_RECORD_DEPTH:
        return None
    if dtype.names is None:
        return terms.Tag(dtype.str) if dtype.kind in _PLAIN_KINDS and dtype.subdtype is None else None
    described: list[Any] = []
    end = 0
    places = sorted((dtype.fields[name][1], place, name) for place, name in enumerate(dtype.names))
    if [name for _, _, name in places] != list(dtype.names):
        return None
    for offset, _, name in places:
        field = dtype.fields[name]
        if len(field) > 2 or not name or offset < end:  # it has a title, or lies over another one
            return None
        inner, shape = field[0].subdtype or (field[0], ())
        inner_described = _described(inner, depth + 1)
        if inner_described is None:
            return None
        if offset > end:
            described.append((terms.Tag(""), terms.Tag(f"|V{offset - end}"), ()))
        described.append((terms.Tag(name), inner_described, shape))
        end = offset + field[0].itemsize
    if dtype.itemsize > end:
        described.append((terms.Tag(""), terms.Tag(f"|V{dtype.itemsize - end}"), ()))
    return described
