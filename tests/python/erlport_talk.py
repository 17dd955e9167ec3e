"""Written for ErlPort's API: what the conversations of `tests/vectors/conversations.txt` call."""

from __future__ import annotations

from typing import Any

from erlport.erlang import CallError, call, cast, set_decoder, set_encoder, set_message_handler
from erlport.erlterms import Atom

OK = Atom(b"ok")
received: list[Any] = []


def total(numbers: list[int]) -> Any:
    return call(Atom(b"lists"), Atom(b"sum"), [numbers])


def careful() -> Any:
    try:
        return call(Atom(b"erlang"), Atom(b"error"), [Atom(b"oops")])
    except CallError as error:
        return (Atom(b"failed"), error.args[0])


def tell(to: Any, message: Any) -> Any:
    cast(to, message)
    return OK


def listen() -> Any:
    set_message_handler(received.append)
    return OK


def heard() -> list[Any]:
    return received


def fail_on_messages() -> Any:
    set_message_handler(int)
    return OK


def text_of(characters: Any) -> bytes:
    text: str = characters.to_string()
    return text.encode()


def is_green(tea: Any) -> bool:
    return tea == Atom(b"green") and tea == b"green" and tea.decode("utf-8") == "green"


def map_pairs() -> Any:
    set_encoder(lambda value: (Atom(b"pair"), *value) if isinstance(value, list) else value)
    set_decoder(lambda value: list(value[1:]) if isinstance(value, tuple) else value)
    return OK
