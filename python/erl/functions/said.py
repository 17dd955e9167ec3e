"""Values as JSON that says all of them: what runs are given, and what they give, between Pythons.

    None True 1 2.5 "text" [..]     as JSON has them; NaN and the infinities as Python's `json` writes them
    {"a": 1}                        the same, where all keys are texts and none begins with "$"
    {"$tuple": [..]}                a tuple
    {"$dict": [[key, value], ..]}   any other dict whose keys are None, truths, numbers or texts

A value of another type is none of them (`NotSaid`): a subclass, too, but numpy's scalars, which are said as Python's.
"""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_MOST_DEPTH: Final = 200
_PLAIN: Final = frozenset((type(None), bool, int, float, str))


class NotSaid(Exception):
    """Raised for a value that JSON can't say; its text says which part it is."""


def dumps(value: Any) -> str:
    """The value as JSON. Raises `NotSaid`."""
    try:
        return json.dumps(as_json(value), ensure_ascii=False, separators=(",", ":"))
    except ValueError as error:  # an int of more digits than `str` writes
        raise NotSaid(str(error)) from None


def loads(text: str | bytes) -> Any:
    """The value that `dumps` has said."""
    return from_json(json.loads(text))


def as_json(value: Any) -> Any:
    """What the text of `dumps` reads as, for a part of a larger one. Raises `NotSaid`."""
    return _said(value, 0)


def from_json(value: Any) -> Any:
    """The value of such a part."""
    if type(value) is list:
        return [from_json(item) for item in value]
    if type(value) is dict:
        if len(value) == 1:
            if "$tuple" in value:
                return tuple(from_json(item) for item in value["$tuple"])
            if "$dict" in value:
                return {from_json(key): from_json(item) for key, item in value["$dict"]}
        return {key: from_json(item) for key, item in value.items()}
    return value


def plain(value: Any) -> Any:
    """The value, with Python's own numbers in the place of numpy's. Raises `NotSaid`."""
    return from_json(as_json(value))


def is_said(value: Any) -> bool:
    """Whether JSON can say it."""
    try:
        dumps(value)
    except NotSaid:
        return False
    return True


def _said(value: Any, depth: int) -> Any:
    kind: Any = type(value)
    if kind is str:
        if value.isascii() or _is_text(value):
            return value
        raise NotSaid("a str with surrogates")
    if kind in _PLAIN:
        return value
    if depth > _MOST_DEPTH:
        raise NotSaid(f"a value of more than {_MOST_DEPTH} levels")
    if kind is list:
        return [_said(item, depth + 1) for item in value]
    if kind is tuple:
        return {"$tuple": [_said(item, depth + 1) for item in value]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {_said(key, depth + 1): _said(item, depth + 1) for key, item in value.items()}
        if all(_plain_type(key) in _PLAIN for key in value):
            return {"$dict": [[_said(key, depth), _said(item, depth + 1)] for key, item in value.items()]}
        raise NotSaid("a dict with keys that are no texts and no numbers")
    if _plain_type(value) in _PLAIN:
        return _said(value.item(), depth)
    raise NotSaid(f"a {kind.__module__}.{kind.__qualname__}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_type(value: Any) -> Any:
    """The type of a value, for a scalar of numpy's that of what it stands for."""
    numpy: Any = sys.modules.get("numpy")
    generic: Any = getattr(numpy, "generic", None)
    if generic is None or not isinstance(value, generic):
        return type(value)
    scalar: Any = value
    kind, size = scalar.dtype.kind, scalar.dtype.itemsize
    # A long double, a date: what Python has is less, or another type.
    return type(scalar.item()) if kind == "U" or (kind in "biuf" and size <= 8) else None
