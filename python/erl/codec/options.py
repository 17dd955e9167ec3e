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
"""ErlPort's own mapping: never among the flags of a call, but set by a server that was started as
ErlPort's.
"""

_ALL: Final = 31


class Options:
    """The mapping options of a call, made from its flags. Immutable, and the same object for the same flags.

    `strings_binary`  a `str` becomes a binary (else a list of code points)
    `dicts_map`       a `dict` becomes a map (else `{"dict", [{K, V}]}`)
    `binaries_bytes`  a binary becomes `bytes` (else `str`)
    `return_ref`      the result stays in Python; the codec passes over it
    `tagged`          tagged forms, encoders and decoders are on (else the mapping is ErlPort's)
    """

    __slots__ = ("binaries_bytes", "dicts_map", "flags", "return_ref", "strings_binary", "tagged")
    flags: int
    strings_binary: bool
    dicts_map: bool
    binaries_bytes: bool
    return_ref: bool
    tagged: bool

    @staticmethod
    def from_flags(flags: int) -> Options:
        """The options for a sum of the flags above. Raises ValueError for any other number."""
        if not 0 <= flags <= _ALL:
            raise ValueError(f"the flags of a call are 0 to {_ALL}, not {flags}")
        return _made[flags]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("options are immutable: make others with Options.from_flags")

    def __reduce__(self) -> tuple[object, ...]:
        return Options.from_flags, (self.flags,)

    def __repr__(self) -> str:
        return f"Options.from_flags({self.flags})"


def _make(flags: int) -> Options:
    options = Options()
    put = object.__setattr__
    put(options, "flags", flags)
    put(options, "strings_binary", bool(flags & STRINGS_BINARY))
    put(options, "dicts_map", bool(flags & DICTS_MAP))
    put(options, "binaries_bytes", bool(flags & BINARIES_BYTES))
    put(options, "return_ref", bool(flags & RETURN_REF))
    put(options, "tagged", not flags & PLAIN)
    return options


_made: Final = tuple(map(_make, range(_ALL + 1)))
