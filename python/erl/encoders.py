"""What user code says about its own types on their way to Erlang.

An encoder is a function of a value that returns a simpler one, which is then encoded in its place: a tuple
of an atom and a list, say. It is found by type as `functools.singledispatch` finds: the nearest class in
the method resolution order wins, abstract base classes count. A registered encoder wins over what the codec
would do with the type.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Encoder = Callable[[Any], object]

_registered: dict[type, Encoder] = {}
_dispatch: Callable[[type], Encoder] | None = None
_watchers: list[Callable[[], None]] = []
_top: Encoder | None = None


def register(type_: Any, function: Encoder | None = None) -> Any:
    """Encode instances of `type_` and its subclasses by `function`; without `function`, a decorator.

    Returns the function. A second registration of the type replaces the first.
    Raises TypeError for what is not a class or not callable.
    """
    if function is None:
        return lambda decorated: register(type_, decorated)
    if not (isinstance(type_, type) and callable(function)):
        raise TypeError("an encoder is registered as register(type, function)")
    _registered[type_] = function
    _changed()
    return function


def unregister(type_: type) -> None:
    """Forget the encoder of the type. Raises LookupError where none was registered for exactly this type."""
    if type_ not in _registered:
        raise LookupError(f"no encoder is registered for {type_.__name__}")
    del _registered[type_]
    _changed()


def lookup(type_: type) -> Encoder | None:
    """The encoder that holds for a type, or None."""
    if _dispatch is None:
        return None
    found = _dispatch(type_)
    return None if found is _unregistered else found


def set_encoder(function: Encoder | None) -> None:
    """ErlPort's way: every result goes through `function`, once and as a whole, before it is encoded; None:
    none does.
    """
    global _top
    _top = function


def apply(value: object) -> object:
    """What the function of `set_encoder` makes of a result."""
    return value if _top is None else _top(value)


def watch(function: Callable[[], None]) -> None:
    """Call `function` after every change of what is registered."""
    _watchers.append(function)


def _changed() -> None:
    global _dispatch
    if _registered:
        from functools import singledispatch

        dispatcher = singledispatch(_unregistered)
        for type_, function in _registered.items():
            dispatcher.register(type_, function)
        _dispatch = dispatcher.dispatch
    else:
        _dispatch = None
    for watcher in _watchers:
        watcher()


def _unregistered(value: object) -> object:
    raise AssertionError("stands for no encoder and is never called")
