"""ErlPort's `erlport.erlang`: call Erlang, send and receive messages, set what maps values.

An encoder is a function of a whole result, or of an argument of a call of Erlang; a decoder of a whole argument, or of
the result of a call of Erlang. Messages pass through neither.
"""

from __future__ import annotations

from erl import api, decoders, encoders, errors

from .erlterms import Atom, adapted, sent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Atom",
    "CallError",
    "DuplicateMessageId",
    "Error",
    "InvalidMessage",
    "UnexpectedMessage",
    "UnexpectedResponses",
    "UnknownMessage",
    "call",
    "cast",
    "make_ref",
    "self",
    "set_decoder",
    "set_default_decoder",
    "set_default_encoder",
    "set_default_message_handler",
    "set_encoder",
    "set_message_handler",
]


class Error(Exception):
    """Base of the exceptions of this module."""


class InvalidMessage(Error):
    """Never raised here: what Erlang can't have meant is answered with an error."""


class UnknownMessage(Error):
    """Never raised here, as `InvalidMessage`."""


class UnexpectedMessage(Error):
    """Never raised here, as `InvalidMessage`."""


class UnexpectedResponses(UnexpectedMessage):
    """Never raised here, as `InvalidMessage`."""


class DuplicateMessageId(Error):
    """Never raised here, as `InvalidMessage`."""


class CallError(Error):
    """Raised when a call of Erlang failed there. Its argument is the error as Erlang sent it, mostly a 4-tuple.

    Its parts are `language` (`erlang`, or `python` for an exception that passed through Erlang), `type` (the class),
    `value` (the reason, the text) and `stacktrace`. Of any other term, `value` is the term, `stacktrace` an empty list
    and the rest None.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        parts: Any = value if type(value) is tuple and len(value) == 4 else (None, None, value, [])
        self.language, self.type, self.value, self.stacktrace = parts


def call(module: Any, function: Any, args: Any) -> Any:
    """Call an Erlang function; the names are atoms. Raises `CallError` for what the function raised, ValueError for
    arguments that are no list.
    """
    if not isinstance(args, list):
        raise ValueError(args)
    try:
        result = api.call(
            _text(module), _text(function), [sent(encoders.apply(argument)) for argument in args]
        )
    except errors.ErlangError as error:
        raise CallError(adapted(_as_sent(error))) from None
    return decoders.apply([result])[0]


def cast(pid: Any, message: Any) -> None:
    """Send a message to an Erlang process."""
    api.cast(pid, sent(message))


def self() -> Any:
    """The pid of the process that owns this interpreter."""
    return api.self()


def make_ref() -> Any:
    """A new Erlang reference."""
    return api.make_ref()


def set_encoder(encoder: Callable[[Any], Any]) -> None:
    """Have results, and arguments of calls of Erlang, pass through `encoder`. Raises TypeError for no function."""
    _callable(encoder)
    encoders.set_encoder(lambda value: sent(encoder(value)))


def set_decoder(decoder: Callable[[Any], Any]) -> None:
    """Have arguments, and results of calls of Erlang, pass through `decoder`. Raises TypeError for no function."""
    _callable(decoder)
    decoders.set_decoder(lambda value: decoder(adapted(value)))


def set_default_encoder() -> None:
    """Take the encoder off."""
    encoders.set_encoder(None)


def set_default_decoder() -> None:
    """Take the decoder off."""
    decoders.set_decoder(adapted)


def set_message_handler(handler: Callable[[Any], object]) -> None:
    """Call `handler` with each message from Erlang. Raises TypeError where it can't be called."""
    _callable(handler)
    api.set_message_handler(lambda message: handler(adapted(message)))


def set_default_message_handler() -> None:
    """Drop the messages from Erlang, as at the start."""
    api.set_message_handler(lambda _message: None)


def _as_sent(error: errors.ErlangError) -> Any:
    term = error._term
    if not isinstance(term, tuple) or len(term) not in (4, 5):
        return term
    # In a pool atoms are others, and a fifth element is the error for itself.
    language, type_ = [Atom(atom) if isinstance(atom, Atom) else atom for atom in term[:2]]
    return (language, type_, *term[2:4])


def _text(name: Any) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def _callable(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if not callable(function):
        raise TypeError(f"expected a function of one argument, not a {type(function).__name__}")
    return function
