"""Counts words: the Python half of the example `wordcount`. It knows no Erlang.

The default texts are every number below half a million, written out. So what has to come out can be worked out, and the
repository needs no texts of others.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter

Block = tuple[bytes, int, int]

BLOCK_BYTES = 1 << 20
# Letters, and apostrophes between them.
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
SPACE = re.compile(rb"[ \t\n\v\f\r]")

SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def blocks(directory: bytes) -> list[Block]:
    """The files below a directory but the hidden ones, cut into blocks `(path, start, length)`."""
    found: list[Block] = []
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not name.startswith(b"."))
        for name in sorted(names):
            path = os.path.join(parent, name)
            if not name.startswith(b".") and os.path.isfile(path):
                size = os.path.getsize(path)
                found += [
                    (path, start, min(BLOCK_BYTES, size - start)) for start in range(0, size, BLOCK_BYTES)
                ]
    return found


def count(block: Block) -> tuple[int, float, dict[str, int]]:
    """The process that counted, the seconds that it took, and how often each word is in the block."""
    started = time.perf_counter()
    counts = Counter(WORD.findall(_text(*block).lower()))
    return os.getpid(), time.perf_counter() - started, dict(counts)


def _text(path: bytes, start: int, length: int) -> str:
    """What lies between white space and begins in the block: each word is in one block, whole."""
    with open(path, "rb") as file:
        if start == 0:
            data = file.read(length)
        else:
            # What the block before has begun is that block's; it begins here if a space is before it.
            file.seek(start - 1)
            data = file.read(length + 1)
            space = SPACE.search(data)
            data = data[space.end() :] if space else b""
        while data and not SPACE.match(data[-1:]):
            more = file.read(4096)
            if not more:
                break
            end = SPACE.search(more)
            data += more[: end.end()] if end else more
    return data.decode(errors="replace")


def write_numbers(directory: bytes, thousand: int) -> None:
    """Write a file of a thousand numbers, one a line. Who reads it meanwhile sees the whole file or none."""
    path = os.path.join(directory, b"%04d.txt" % thousand)
    draft = b"%s.%d" % (path, os.getpid())
    with open(draft, "w", encoding="ascii") as file:
        file.writelines(f"{spelled(1000 * thousand + number)}\n" for number in range(1000))
    os.replace(draft, path)


def spelled(number: int) -> str:
    """A number below a million in words: `two hundred thousand forty-two`."""
    thousands, rest = divmod(number, 1000)
    parts = [_below_thousand(thousands), "thousand"] if thousands else []
    if rest or not parts:
        parts.append(_below_thousand(rest))
    return " ".join(parts)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    parts = [SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        parts.append(TENS[tens] + (f"-{SMALL[ones]}" if ones else ""))
    elif rest or not parts:
        parts.append(SMALL[rest])
    return " ".join(parts)
