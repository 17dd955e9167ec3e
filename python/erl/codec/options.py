"""How one call maps values: the options, and the limits that hold for all calls."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn


MAX_DEPTH: Final = 1000
"""Containers (lists, tuples, maps) inside one another. The tagged form of a dict is three of them."""

MAX_INFLATED_BYTES: Final = 256 * 1024 * 1024
"""The most that a compressed term may grow to."""

MAX_INTEGER_BYTES: Final = 8 * 1024 * 1024 - 2
"""The longest integer that a BEAM reads (OTP 25; later ones read less)."""

STRINGS_BINARY: Final = 1
DICTS_MAP: Final = 2
BINARIES_BYTES: Final = 4
RETURN_REF: Final = 8
PLAIN: Final = 16
"""ErlPort's own mapping, with its types (`erl.values.plain`): a dict is a map. Never among the flags of a call, but set
by a server that was started as ErlPort's.
"""
HAYSTACK: Final = 32
FRAMES_COLUMNS: Final = 64
FRAMES_ARROW: Final = 128
MATRICES: Final = 256
ARRAYS_VALUE: Final = 512
ARRAYS_SHARED: Final = 1024
NONE_NIL: Final = 2048
NONE_NONE: Final = 4096

FORMS: Final = HAYSTACK | FRAMES_COLUMNS | FRAMES_ARROW | MATRICES | ARRAYS_VALUE | ARRAYS_SHARED
"""The flags that add forms: what a type goes out as depends on them."""

WAYS: Final = STRINGS_BINARY | DICTS_MAP | FORMS | NONE_NIL | NONE_NONE
"""What the way in which values of a type are written depends on."""

_BOTH_FRAMES: Final = FRAMES_COLUMNS | FRAMES_ARROW
_BOTH_ARRAYS: Final = ARRAYS_VALUE | ARRAYS_SHARED
_BOTH_NONES: Final = NONE_NIL | NONE_NONE
_ALL: Final = 8191


class Options:
    """The mapping options of a call, made from its flags. Immutable, and the same object for the same flags.

    `strings_binary`  a `str` becomes a binary (else a list of code points)
    `dicts_map`       a `dict` becomes a map (else `{"dict", [{K, V}]}`)
    `binaries_bytes`  a binary becomes `bytes` (else `str`)
    `return_ref`      the result stays in Python; the codec passes over it
    `tagged`          tagged forms, encoders and decoders are on (else the mapping is ErlPort's)
    `none`            the atom that None is: "undefined", "nil", "none"
    `haystack`        the forms of Haystack's kinds are on as well
    `forms`           those of the flags that add forms on the way out (`FORMS`)
    """

    __slots__ = (
        "binaries_bytes",
        "dicts_map",
        "flags",
        "forms",
        "haystack",
        "none",
        "return_ref",
        "strings_binary",
        "tagged",
    )
    flags: int
    forms: int
    haystack: bool
    none: str
    strings_binary: bool
    dicts_map: bool
    binaries_bytes: bool
    return_ref: bool
    tagged: bool

    @staticmethod
    def from_flags(flags: int) -> Options:
        """The options for a sum of the flags above. Raises ValueError for any other number, and for two ways to
        map frames, arrays or None.
        """
        made = _made.get(flags)
        return _make(flags) if made is None else made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("options are immutable: make others with Options.from_flags")

    def __reduce__(self) -> tuple[object, ...]:
        return Options.from_flags, (self.flags,)

    def __repr__(self) -> str:
        return f"Options.from_flags({self.flags})"


def _make(flags: int) -> Options:
    if not 0 <= flags <= _ALL:
        raise ValueError(f"the flags of a call are 0 to {_ALL}, not {flags}")
    if flags & _BOTH_FRAMES == _BOTH_FRAMES:
        raise ValueError(f"the flags {flags} of a call name two forms for frames")
    if flags & _BOTH_ARRAYS == _BOTH_ARRAYS:
        raise ValueError(f"the flags {flags} of a call name two forms for arrays")
    if flags & _BOTH_NONES == _BOTH_NONES:
        raise ValueError(f"the flags {flags} of a call name two atoms for None")
    options = Options()
    put = object.__setattr__
    put(options, "flags", flags)
    put(options, "strings_binary", bool(flags & STRINGS_BINARY))
    put(options, "dicts_map", bool(flags & DICTS_MAP))
    put(options, "binaries_bytes", bool(flags & BINARIES_BYTES))
    put(options, "return_ref", bool(flags & RETURN_REF))
    put(options, "tagged", not flags & PLAIN)
    put(options, "haystack", bool(flags & HAYSTACK) and not flags & PLAIN)
    put(options, "none", _NONES[0 if flags & PLAIN else flags & _BOTH_NONES])
    put(options, "forms", 0 if flags & PLAIN else flags & FORMS)
    return _made.setdefault(flags, options)


_NONES: Final = {0: "undefined", NONE_NIL: "nil", NONE_NONE: "none"}
_made: Final[dict[int, Options]] = {}
