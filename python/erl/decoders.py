"""What user code says about tagged tuples on their way from Erlang.

A decoder is a function of the payload of a tuple `{Tag, Payload}`; what it returns stands in the tuple's
place. A tag is a `str`, which matches a string head (`{"point", {1, 2}}`), or an `Atom` (`{point, {1,
2}}`). A registered tag wins over a tag of the codec's own.
"""

from __future__ import annotations

from erl.values.scope import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from erl.values.mappings import Decoder


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
    current().decoders.register(tag, function)
    return function


def unregister(tag: str) -> None:
    """Forget the decoder of the tag. Raises LookupError where there is none."""
    current().decoders.unregister(tag)


def strings() -> dict[bytes, Decoder]:
    """The decoders of string tags, by the tag in Latin-1."""
    return current().decoders.strings


def atoms() -> dict[bytes, Decoder]:
    """The decoders of atom tags, by the atom in UTF-8."""
    return current().decoders.atoms


def set_decoder(function: Decoder | None) -> None:
    """ErlPort's way: every argument of a call goes through `function`, once and as a whole; None: none
    does.
    """
    current().decoders.set_top(function)


def apply(arguments: list[object]) -> list[object]:
    """What the function of `set_decoder` makes of the arguments of a call."""
    return current().decoders.apply(arguments)
