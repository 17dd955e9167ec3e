"""What an interpreter says unasked, much of it."""

from __future__ import annotations

import logging
import sys
from typing import Any

import erl


def say(lines: int, width: int) -> int:
    text = "x" * width
    for _ in range(lines):
        print(text)
    return lines


def number(lines: int) -> int:
    for line in range(lines):
        print(line)
    return lines


def log(records: int) -> int:
    logger = logging.getLogger("talking")
    for record in range(records):
        logger.error("record %d %s", record, "x" * 99)
    return records


def cast(receiver: Any, messages: int, size: int) -> int:
    data = bytes(size)
    for message in range(messages):
        erl.cast(receiver, (message, data))
    return messages


def complain(lines: int, width: int) -> int:
    text = "x" * width
    for _ in range(lines):
        print(text, file=sys.stderr)
    sys.stderr.flush()
    return lines


def ask_and_say(sender: Any, os_pid: int, lines: int) -> int:
    """Print behind a question, line by line, which no other call may nest in: it comes from too deep."""

    def ask(depth: int) -> object:
        return (
            ask(depth - 1) if depth else erl.call("py_outlet_SUITE", "answer_behind_a_call", [sender, os_pid])
        )

    ask(sys.getrecursionlimit() // 2)
    for number in range(1, lines + 1):
        print(number, flush=True)
    return lines
