"""Python's prompt with a node running, `make python`: `node` and `executor` are there."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version

import erl
from erl.futures import PoolExecutor

node = erl.start()
executor = PoolExecutor()

if sys.stdin.isatty() and sys.stdout.isatty():
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    name = f"erl {version('erl-bridge')}"
    print(
        "\033[1m" + name + "\033[0m" if coloured else name,
        f"on Python {platform.python_version()}, a node with {len(os.sched_getaffinity(0))} workers\n"
        "  executor.submit(pow, 2, 10).result()     runs in a worker, which may crash without harm\n"
        "  sum(executor.map(abs, range(-9, 9)))     on all workers\n"
        "  node.status()                            what they do; help(erl) says what else there is\n"
        "  exit()                                   leaves, and the node ends",
    )
    del coloured, name
