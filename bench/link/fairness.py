"""What waits for whom on a node of two workers: a line of JSON for each work. See `bench/link/run`.

python bench/link/fairness.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import link_work as work

import erl

WORKERS = 2
SHORT, LONG_SECONDS = 1400, 0.3
BEHIND, EACH_SECONDS = 400, 0.005
ANSWERS, ANSWER_BYTES = 600, 1_000_000


def emit(what: str, unit: str, value: float) -> None:
    print(json.dumps({"work": what, "side": "PoolExecutor", "unit": unit, "value": value}), flush=True)


def behind_a_long_one(executor: Any) -> None:
    """Of 1,400 short tasks and one of 300 ms, how many begin only when that is over."""
    [future.result() for future in [executor.submit(work.begun, 0) for _ in range(500)]]
    futures = [executor.submit(work.begun, 0) for _ in range(50)]
    long = executor.submit(work.begun, LONG_SECONDS)
    futures += [executor.submit(work.begun, 0) for _ in range(SHORT - 50)]
    _, ended = long.result()
    waited = sum(future.result()[0] > ended for future in futures)
    # With one worker left they may take longer than that; then some are behind it by right.
    others = sorted(future.result()[0] for future in futures)
    idle = max(later - at for at, later in pairwise(others))
    emit("short tasks that began after the long one", "tasks", waited)
    emit("the longest time in which none began", "ms", idle * 1000)


def behind_another(node: erl.Node) -> None:
    """A call of another connection behind 400 tasks of 5 ms."""
    other = subprocess.Popen(
        [sys.executable, __file__, "--ask", node.socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    executor = node.executor()
    futures = [executor.submit(time.sleep, EACH_SECONDS) for _ in range(BEHIND)]
    time.sleep(0.05)
    other.stdin.write("now\n")
    other.stdin.close()
    times = sorted(float(line) for line in other.stdout)
    other.stdout.close()
    other.wait()
    emit("another connection's call, the median", "ms", times[len(times) // 2])
    emit("another connection's call, the longest", "ms", times[-1])
    for future in futures:
        future.result()


def ask(socket: str) -> None:
    """The other connection: 10 calls, one after the other."""
    executor = erl.connect(socket).executor()
    executor.submit(abs, -1).result()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(10):
        begun = time.perf_counter()
        executor.submit(abs, -1).result()
        print((time.perf_counter() - begun) * 1000)


def not_read(node: erl.Node) -> None:
    """The BEAM while a driver that wants 600 answers of 1 MB does not read."""
    beam = node.status()["os_pid"]
    other = subprocess.Popen(
        [sys.executable, __file__, "--not-read", node.socket], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "sent\n"
    other.send_signal(signal.SIGSTOP)
    most = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        most = max(most, resident(beam))
        time.sleep(0.02)
    emit("BEAM behind a driver that does not read", "MB", most / 1e6)
    other.send_signal(signal.SIGCONT)
    other.communicate()


def want_answers(socket: str) -> None:
    executor = erl.connect(socket).executor(timeout=20)
    futures = [executor.submit(bytes, ANSWER_BYTES) for _ in range(ANSWERS)]
    print("sent", flush=True)
    for future in futures:
        future.exception()


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2])
    elif sys.argv[1:2] == ["--not-read"]:
        want_answers(sys.argv[2])
    else:
        with erl.start({"default": {"size": WORKERS}}) as node:
            behind_a_long_one(node.executor())
            behind_another(node)
            not_read(node)


if __name__ == "__main__":
    main()
