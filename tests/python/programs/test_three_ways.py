"""One program, word for word, with a node of its own, at one that it joins, and submitted: it says the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import asyncio, concurrent.futures, logging, os, sys, time, warnings

import erl
import beside
from erl.futures import PoolExecutor, TaskTimeoutError, WorkerLostError

logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(name)s: %(message)s")


class OwnError(Exception):
    pass


def noisy(number):
    print("working on", number)
    logging.getLogger("mine").warning("noted %d", number)
    warnings.warn("take care")
    return number * beside.FACTOR


def failing(number):
    raise OwnError(number)


def inner():
    with PoolExecutor() as executor:
        return executor.submit(abs, -3).result(60)


async def coroutine(executor):
    loop = asyncio.get_running_loop()
    return await asyncio.gather(executor.run(noisy, 2), loop.run_in_executor(executor, beside.times, 3))


def main():
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, category, *_: print(category.__name__, message)
    try:
        node = JOINED
        with PoolExecutor() as executor:
            assert executor.node is node
            print("arguments", sys.argv[1:], sys.stdin.read())
            print(sorted(node.pools), node.call("lists", "sum", [[1, 2, 3]]), node.func("math.sqrt", 16))
            print(executor.submit(noisy, 1).result(60))
            print(asyncio.run(coroutine(executor)))
            print(list(executor.map(beside.times, range(5))), list(executor.map(lambda n: n + 1, range(2000)))[-1])
            error = executor.submit(failing, 4).exception(60)
            print(type(error) is OwnError, error.args, "in failing" in str(error.__cause__))
            lost = executor.submit(os._exit, 3).exception(60)
            print(type(lost) is WorkerLostError, isinstance(lost, concurrent.futures.BrokenExecutor), lost)
            late = node.executor(timeout=0.2).submit(time.sleep, 60).exception(60)
            print(type(late) is TaskTimeoutError, late)
            print(executor.submit(sum, (each for each in ())).exception(60))
            data = os.urandom(1_000_000)
            print(executor.submit(bytes.__len__, data).result(60), executor.submit(bytes, data).result(60) == data)
            print(executor.submit(inner).result(60), len(set(executor.map(beside.whose, range(8), chunksize=1))) <= 2)
            running = executor.submit(time.sleep, 60)
            while not running.running():
                time.sleep(0.01)
            print(running.kill(), concurrent.futures.wait([running], 60).not_done, running.cancelled())
        sys.stdout.flush()
        failing(5)
    finally:
        print("last", flush=True)


if __name__ == "__main__":
    main()
"""
BESIDE = """
import os

FACTOR = 7


def times(number):
    return FACTOR * number


def whose(_):
    return os.getpid()
"""
POOLS = '{"default": {"size": 2}}'


@contextmanager
def a_node(state: Path, directory: Path) -> Iterator[str]:
    """The socket of one that a command serves."""
    (directory / "pools.json").write_text(POOLS)
    arguments = ["node", "--state-dir", str(state), "--pools", str(directory / "pools.json")]
    node = subprocess.Popen([sys.executable, "-m", "erl", *arguments], stderr=subprocess.PIPE, text=True)
    with node:
        try:
            assert node.stderr is not None
            assert "serves at" in node.stderr.readline()
            yield str(state / "node.sock")
        finally:
            node.send_signal(signal.SIGTERM)
            node.communicate(timeout=30)


def test_a_program_says_the_same_whatever_its_node_is(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(BESIDE)
    program = tmp_path / "program.py"

    def said(joined: str, *before: str) -> tuple[int, str, str]:
        program.write_text(PROGRAM.replace("JOINED", joined))
        done = subprocess.run(
            [sys.executable, *before, str(program), "green", "raise"],
            input="tea",
            capture_output=True,
            text=True,
            timeout=120,
        )
        # The node's own log is for who has started it: that is one of the differences.
        out, error = (
            "".join(line for line in text.splitlines(True) if "the next start is" not in line)
            for text in (done.stdout, done.stderr)
        )
        return done.returncode, out, error.replace(joined, "JOINED")

    submit = ["-m", "erl", "submit"]
    started = said(f"erl.start({POOLS})")
    with a_node(tmp_path / "state", tmp_path) as socket:
        joined = said(f"erl.connect({socket!r})")
        submitted_there = said("erl.here()", *submit, "--connect", socket, "python")
    submitted = said("erl.here()", *submit, "standalone", "python")
    assert started[0] == 1, started[2]
    assert "arguments ['green', 'raise'] tea" in started[1]
    assert started[1].endswith("True set() True\nlast\n")
    assert started[2].endswith("OwnError: 5\n")
    for other in (joined, submitted_there, submitted):
        assert other[1].splitlines() == started[1].splitlines()
        assert other == started
    assert os.listdir(tmp_path / "state") == []
