"""The Python of `giving_back.c`: begins the calls on its standard input, and counts each in a table. Never sleeps.

usage: begun_calls.py PAGE TABLE [unfenced]
"""

from __future__ import annotations

import mmap
import os
import sys

from erl import codec
from erl.wire import CLOSED


def main(page_path: str, table_path: str, *options: str) -> None:
    with open(page_path, "r+b") as page_file, open(table_path, "r+b") as table_file:
        page = memoryview(mmap.mmap(page_file.fileno(), 64)).cast("Q")
        table = mmap.mmap(table_file.fileno(), os.fstat(table_file.fileno()).st_size)
    assert codec.FrameBuffer is not None
    frames = codec.FrameBuffer(4)
    frames.fenced = "unfenced" not in options
    frames.count_begun(page)
    while True:
        turn = frames.turn
        if not frames.is_held() and frames.next() is not None:
            if frames.begin(turn, (), True):
                table[frames.calls] += 1
            continue
        frames.sort()
        if (frames.is_held() or frames.next() is None) and frames.read(0, 0) == CLOSED:
            return


main(*sys.argv[1:])
