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
