"""Atoms, each decoded once: bounded tables from the bytes of a name to the value it stands for."""

from __future__ import annotations

from erl import errors
from erl.terms import MAX_ATOM_CHARACTERS, Atom
from erl.values import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

PLAIN: Final[tuple[dict[bytes, Any], dict[bytes, Any]]] = ({}, {})
"""By the name in Latin-1 (tags 100 and 115), by the name in UTF-8 (tags 118 and 119)."""

WITH_FLOATS: Final[tuple[dict[bytes, Any], dict[bytes, Any]]] = ({}, {})
"""The same where `nan`, `infinity` and `'-infinity'` are floats: among Haystack's numbers."""

OF_ERLPORT: Final[tuple[dict[bytes, Any], dict[bytes, Any]]] = ({}, {})
"""The same in ErlPort's mapping, whose atoms are bytes."""

FLOATS: Final = {"nan": float("nan"), "infinity": float("inf"), "-infinity": float("-inf")}

_MAX_MET: Final = 8192
_CONSTANTS: Final[dict[str, Any]] = {"undefined": None, "true": True, "false": False}
_CONSTANTS_AND_FLOATS: Final[dict[str, Any]] = {**_CONSTANTS, **FLOATS}


def meet(name: bytes, *, latin1: bool, floats: bool = False, erlport: bool = False) -> Any:
    """The value of an atom, remembered in its table. Raises `DecodeError` for what is no atom's name."""
    try:
        text = name.decode("latin-1" if latin1 else "utf-8")
    except UnicodeDecodeError:
        raise errors.DecodeError("the name of an atom is not UTF-8") from None
    if len(text) > MAX_ATOM_CHARACTERS:
        raise errors.DecodeError(f"an atom of {len(text)} characters: {MAX_ATOM_CHARACTERS} is the most")
    met = (OF_ERLPORT if erlport else WITH_FLOATS if floats else PLAIN)[not latin1]
    if len(met) >= _MAX_MET:
        met.clear()
    known = _CONSTANTS_AND_FLOATS if floats else _CONSTANTS
    if text in known:
        value: Any = known[text]
    else:
        value = plain.Atom(text) if erlport else Atom(text)
    met[name] = value
    return value
