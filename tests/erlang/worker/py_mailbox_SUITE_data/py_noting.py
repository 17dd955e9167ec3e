"""Notes what runs, in order."""

from __future__ import annotations

import time
from typing import Any

import erl

notes: list[Any] = []


def note(what: Any) -> Any:
    notes.append(what)
    return what


def noted() -> list[Any]:
    return notes


def note_messages() -> None:
    erl.set_message_handler(notes.append)


def print_and_note(text: str) -> None:
    print(text, end="")
    notes.append(text)


def sleep(seconds: float) -> None:
    time.sleep(seconds)
