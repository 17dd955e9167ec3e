"""What user code says about its own types on their way to Erlang.

An encoder is a function of a value that returns a simpler one, which is then encoded in its place: a tuple
of an atom and a list, say. It is found by type as `functools.singledispatch` finds: the nearest class in
the method resolution order wins, abstract base classes count. A registered encoder wins over what the codec
would do with the type.
"""

from __future__ import annotations

from erl.values.scope import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from erl.values.mappings import Encoder


def register(type_: Any, function: Encoder | None = None) -> Any:
    """Encode instances of `type_` and its subclasses by `function`; without `function`, a decorator.

    Returns the function. A second registration of the type replaces the first.
    Raises TypeError for what is not a class or not callable.
    """
    if function is None:
        return lambda decorated: register(type_, decorated)
    if not (isinstance(type_, type) and callable(function)):
        raise TypeError("an encoder is registered as register(type, function)")
    current().encoders.register(type_, function)
    return function


def unregister(type_: type) -> None:
    """Forget the encoder of the type. Raises LookupError where none was registered for exactly this type."""
    current().encoders.unregister(type_)


def lookup(type_: type) -> Encoder | None:
    """The encoder that holds for a type, or None."""
    return current().encoders.lookup(type_)


def set_encoder(function: Encoder | None) -> None:
    """ErlPort's way: every result goes through `function`, once and as a whole, before it is encoded; None:
    none does.
    """
    current().encoders.set_top(function)


def apply(value: object) -> object:
    """What the function of `set_encoder` makes of a result."""
    return current().encoders.apply(value)
