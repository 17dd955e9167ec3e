"""Atoms, each decoded once: bounded tables from the bytes of a name to the value it stands for."""

from __future__ import annotations

from erl import errors
from erl.terms import MAX_ATOM_CHARACTERS, Atom
from erl.values import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Table = tuple[dict[bytes, Any], dict[bytes, Any]]

OF_ERLPORT: Final[Table] = ({}, {})
"""Those of ErlPort's mapping, whose atoms are bytes: by the name in Latin-1 (tags 100 and 115), by the name in UTF-8
(tags 118 and 119)."""

FLOATS: Final = {"nan": float("nan"), "infinity": float("inf"), "-infinity": float("-inf")}

_MAX_MET: Final = 8192
_BOOLEANS: Final[dict[str, Any]] = {"true": True, "false": False}
_met: Final[dict[tuple[str, bool], Table]] = {}


def table(none: str, floats: bool) -> Table:
    """The values of the atoms that were met where `none` is None, and where `nan`, `infinity` and `'-infinity'` are
    floats, among Haystack's numbers.
    """
    return _met.get((none, floats)) or _met.setdefault((none, floats), ({}, {}))


def meet(
    name: bytes, *, latin1: bool, none: str = "undefined", floats: bool = False, erlport: bool = False
) -> Any:
    """The value of an atom, remembered in its table. Raises `DecodeError` for what is no atom's name."""
    try:
        text = name.decode("latin-1" if latin1 else "utf-8")
    except UnicodeDecodeError:
        raise errors.DecodeError("the name of an atom is not UTF-8") from None
    if len(text) > MAX_ATOM_CHARACTERS:
        raise errors.DecodeError(f"an atom of {len(text)} characters: {MAX_ATOM_CHARACTERS} is the most")
    met = (OF_ERLPORT if erlport else table(none, floats))[not latin1]
    if len(met) >= _MAX_MET:
        met.clear()
    value: Any
    if text == none:
        value = None
    elif text in _BOOLEANS:
        value = _BOOLEANS[text]
    elif floats and text in FLOATS:
        value = FLOATS[text]
    else:
        value = plain.Atom(text) if erlport else Atom(text)
    met[name] = value
    return value
