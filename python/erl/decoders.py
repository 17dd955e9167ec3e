"""What user code says about tagged tuples on their way from Erlang.

A decoder is a function of the payload of a tuple `{Tag, Payload}`; what it returns stands in the tuple's
place. A tag is a `str`, which matches a string head (`{"point", {1, 2}}`), or an `Atom` (`{point, {1,
2}}`). A registered tag wins over a tag of the codec's own.
"""

from __future__ import annotations

from erl.terms import Atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decoder = Callable[[Any], object]


_strings: dict[bytes, Decoder] = {}
_atoms: dict[bytes, Decoder] = {}
_watchers: list[Callable[[], None]] = []
_top: Decoder | None = None

_MAX_STRING_BYTES = 65535


def register(tag: Any, function: Decoder | None = None) -> Any:
    """Decode `{Tag, Payload}` as `function(payload)`; without `function`, a decorator. Returns the function.

    Raises TypeError for a tag that is no `str` or a function that is not callable, ValueError for a string
    tag that is empty, longer than 65,535 characters, or not Latin-1 (Erlang writes that one as a list of
    other integers).
    """
    if function is None:
        return lambda decorated: register(tag, decorated)
    if not isinstance(tag, str) or not callable(function):
        raise TypeError("a decoder is registered as register(tag, function), the tag a str or an Atom")
    table, name = _slot(tag)
    table[name] = function
    _changed()
    return function


def unregister(tag: str) -> None:
    """Forget the decoder of the tag. Raises LookupError where there is none."""
    table, name = _slot(tag)
    if name not in table:
        raise LookupError(f"no decoder is registered for {tag!r}")
    del table[name]
    _changed()


def strings() -> dict[bytes, Decoder]:
    """The decoders of string tags, by the tag in Latin-1."""
    return _strings


def atoms() -> dict[bytes, Decoder]:
    """The decoders of atom tags, by the atom in UTF-8."""
    return _atoms


def set_decoder(function: Decoder | None) -> None:
    """ErlPort's way: every argument of a call goes through `function`, once and as a whole; None: none
    does.
    """
    global _top
    _top = function


def apply(arguments: list[object]) -> list[object]:
    """What the function of `set_decoder` makes of the arguments of a call."""
    return arguments if _top is None else [_top(argument) for argument in arguments]


def watch(function: Callable[[], None]) -> None:
    """Call `function` after every change of what is registered."""
    _watchers.append(function)


def _slot(tag: str) -> tuple[dict[bytes, Decoder], bytes]:
    if isinstance(tag, Atom):
        return _atoms, tag.encode()
    try:
        name = tag.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"a string tag is Latin-1 text, {tag!r} is not: use an Atom") from None
    if not 0 < len(name) <= _MAX_STRING_BYTES:
        raise ValueError("a string tag has 1 to 65535 characters")
    return _strings, name


def _changed() -> None:
    for watcher in _watchers:
        watcher()
