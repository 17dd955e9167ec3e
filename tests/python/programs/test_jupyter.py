"""In a real Jupyter kernel: a cell runs twice, prints appear in it, an interrupt or a restart does no harm."""

from __future__ import annotations

import os
import subprocess
import time
from importlib.util import find_spec
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

if find_spec("ipykernel") is None or find_spec("jupyter_client") is None:
    pytest.skip(
        "ipykernel and jupyter_client are not installed: scripts/setup programs", allow_module_level=True
    )

# What its own libraries warn of is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 90
CELL = """
import erl, os, time
from erl.futures import PoolExecutor

node = erl.start({"default": {"size": 2}})
executor = PoolExecutor()

def hello(number):
    print("hello", number)
    return number + 1

print(executor.submit(hello, 1).result())
node
"""
WHO = """
workers = node.status()["pools"]["default"]["workers"]
print(node.status()["os_pid"], *(worker["os_pid"] for worker in workers), node.socket)
"""


class Kernel:
    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(
            kernel_name="python3", startup_timeout=SECONDS, stderr=subprocess.DEVNULL
        )

    def run(self, cell: str, interrupt_when: Any = None) -> list[tuple[str, str]]:
        """What appears in the cell."""
        asked = self.client.execute(cell)
        shown: list[tuple[str, str]] = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if interrupt_when is not None and interrupt_when():
                interrupt_when = None
                self.manager.interrupt_kernel()
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "stream":
                shown.append((content["name"], content["text"]))
            elif kind == "execute_result":
                shown.append(("result", content["data"]["text/plain"]))
            elif kind == "error":
                shown.append(("error", content["ename"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return shown
        raise AssertionError(f"the cell did not end: {shown}")

    def text(self, cell: str) -> str:
        return "".join(text for kind, text in self.run(cell) if kind == "stdout")

    def restart(self, now: bool) -> None:
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=SECONDS)

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    running = Kernel()
    yield running
    running.end()


def test_a_cell_that_is_run_again_finds_its_node_and_shows_prints(kernel: Kernel) -> None:
    first, second = kernel.run(CELL), kernel.run(CELL)
    for shown in (first, second):
        assert "".join(text for kind, text in shown if kind == "stdout") == "hello 1\n2\n"
        assert shown[-1][0] == "result"
        assert "default of 2" in shown[-1][1]
    assert first[-1] == second[-1]  # the same node, by its process id


def test_a_cell_with_other_arguments_says_what_to_do(kernel: Kernel) -> None:
    kernel.run(CELL)
    shown = kernel.run('erl.start({"default": {"size": 1}})')
    assert ("error", "NodeError") in shown
    assert "hello 5" in kernel.text("executor.submit(hello, 5).result()")


def test_warnings_and_logs_of_a_task_appear_in_the_cell(kernel: Kernel) -> None:
    kernel.run(CELL)
    shown = kernel.run(
        "def warns():\n    import logging, warnings\n    warnings.warn('take care')\n"
        "    logging.getLogger('mine').warning('noted')\n"
        "executor.submit(warns).result()"
    )
    text = "".join(text for kind, text in shown if kind == "stderr")
    assert "UserWarning: take care" in text
    assert "noted" in text


def test_an_interrupt_leaves_the_task_and_the_workers_as_they_were(kernel: Kernel) -> None:
    kernel.run(CELL)
    before = kernel.text(WHO)
    begun = time.monotonic()
    shown = kernel.run(
        "future = executor.submit(time.sleep, 3)\n"
        "while not future.running():\n    time.sleep(0.01)\n"
        "print('waits', flush=True)\nfuture.result()",
        # It waits for the result by then; where it does not yet, the interrupt is the same.
        interrupt_when=lambda: time.monotonic() > begun + 1.5,
    )
    assert ("error", "KeyboardInterrupt") in shown
    assert kernel.text("print(future.result(), executor.submit(abs, -1).result())") == "None 1\n"
    assert kernel.text(WHO) == before


@pytest.mark.parametrize("now", [False, True], ids=["asked to end", "killed"])
def test_nothing_is_left_of_a_kernel_that_was_restarted(kernel: Kernel, now: bool) -> None:
    kernel.run(CELL)
    *pids, socket = kernel.text(WHO).split()
    kernel.run("futures = [executor.submit(time.sleep, 600) for _ in range(10)]")
    kernel.restart(now)
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    eventually(lambda: not os.path.exists(socket))
    assert "hello 1" in kernel.text(CELL)
