"""What user code says of its own types and tagged tuples, both ways, in one conversation.

`erl.encoders` and `erl.decoders` say what an encoder and a decoder are.
"""

from __future__ import annotations

from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Encoder = Callable[[Any], object]
    Decoder = Callable[[Any], object]

_MAX_STRING_BYTES = 65535


class _Watched:
    """Tells of changes those who remember what they found."""

    __slots__ = ("_watchers", "top")

    def __init__(self) -> None:
        self._watchers: list[Callable[[], None]] = []
        self.top: list[Callable[[Any], object]] = []
        """The function of ErlPort's way, if there is one. Always the same list: the compiled lane looks into it."""

    def watch(self, function: Callable[[], None]) -> None:
        """Call `function` after every change of what is registered."""
        self._watchers.append(function)

    def set_top(self, function: Callable[[Any], object] | None) -> None:
        """Have whole values go through `function`; None: through none."""
        self.top[:] = [] if function is None else [function]

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()


class Encoders(_Watched):
    """Functions by type, found as `functools.singledispatch` finds."""

    __slots__ = ("_dispatch", "registered")

    def __init__(self) -> None:
        super().__init__()
        self.registered: dict[type, Encoder] = {}
        self._dispatch: Callable[[type], Encoder] | None = None

    def register(self, type_: type, function: Encoder) -> None:
        """Encode instances of `type_` and its subclasses by `function`."""
        self.registered[type_] = function
        self._registered_anew()

    def unregister(self, type_: type) -> None:
        """Forget the encoder of the type. Raises LookupError where none was registered for exactly this type."""
        if type_ not in self.registered:
            raise LookupError(f"no encoder is registered for {type_.__name__}")
        del self.registered[type_]
        self._registered_anew()

    def lookup(self, type_: type) -> Encoder | None:
        """The encoder that holds for a type, or None."""
        dispatch = self._dispatch  # another thread may change it
        if dispatch is None:
            return None
        found = dispatch(type_)
        return None if found is _unregistered else found

    def apply(self, value: object) -> object:
        """What the function of ErlPort's way makes of a result."""
        for function in self.top:
            value = function(value)
        return value

    def _registered_anew(self) -> None:
        dispatch = None
        if self.registered:
            from functools import singledispatch

            dispatcher = singledispatch(_unregistered)
            for type_, function in self.registered.items():
                dispatcher.register(type_, function)
            dispatch = dispatcher.dispatch
        self._dispatch = dispatch
        self._changed()


def _unregistered(value: object) -> object:
    raise AssertionError("stands for no encoder and is never called")


class Decoders(_Watched):
    """Functions by tag."""

    __slots__ = ("atoms", "strings")

    def __init__(self) -> None:
        super().__init__()
        self.strings: dict[bytes, Decoder] = {}
        """Those of string tags, by the tag in Latin-1."""
        self.atoms: dict[bytes, Decoder] = {}
        """Those of atom tags, by the atom in UTF-8."""

    def register(self, tag: str, function: Decoder) -> None:
        """Decode `{Tag, Payload}` as `function(payload)`. Raises ValueError for a tag that Erlang has no string for."""
        table, name = self._slot(tag)
        table[name] = function
        self._changed()

    def unregister(self, tag: str) -> None:
        """Forget the decoder of the tag. Raises LookupError where there is none."""
        table, name = self._slot(tag)
        if name not in table:
            raise LookupError(f"no decoder is registered for {tag!r}")
        del table[name]
        self._changed()

    def apply(self, arguments: list[object]) -> list[object]:
        """What the function of ErlPort's way makes of the arguments of a call."""
        for function in self.top:
            arguments = [function(argument) for argument in arguments]
        return arguments

    def _slot(self, tag: str) -> tuple[dict[bytes, Decoder], bytes]:
        if isinstance(tag, Atom):
            return self.atoms, tag.encode()
        try:
            name = tag.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"a string tag is Latin-1 text, {tag!r} is not: use an Atom") from None
        if not 0 < len(name) <= _MAX_STRING_BYTES:
            raise ValueError("a string tag has 1 to 65535 characters")
        return self.strings, name
