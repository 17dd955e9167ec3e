"""Atoms, each decoded once: bounded tables from the bytes of a name to the value it stands for."""

from __future__ import annotations

from erl import errors
from erl.terms import MAX_ATOM_CHARACTERS, Atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

UTF8: Final[dict[bytes, Any]] = {}
"""By the name in UTF-8 (tags 118 and 119)."""

LATIN1: Final[dict[bytes, Any]] = {}
"""By the name in Latin-1 (tags 100 and 115)."""

_MAX_MET: Final = 8192
_CONSTANTS: Final[dict[str, Any]] = {"undefined": None, "true": True, "false": False}


def meet(name: bytes, *, latin1: bool) -> Any:
    """The value of an atom, remembered in its table. Raises `DecodeError` for what is no atom's name."""
    try:
        text = name.decode("latin-1" if latin1 else "utf-8")
    except UnicodeDecodeError:
        raise errors.DecodeError("the name of an atom is not UTF-8") from None
    if len(text) > MAX_ATOM_CHARACTERS:
        raise errors.DecodeError(f"an atom of {len(text)} characters: {MAX_ATOM_CHARACTERS} is the most")
    met = LATIN1 if latin1 else UTF8
    if len(met) >= _MAX_MET:
        met.clear()
    value = met[name] = _CONSTANTS[text] if text in _CONSTANTS else Atom(text)
    return value
