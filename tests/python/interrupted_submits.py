"""A program that is interrupted all the time while it submits: each task that it has a future of ends."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import erl


def main() -> None:
    is_armed = [False]

    def interrupt(*_: object) -> None:
        if is_armed[0]:
            raise KeyboardInterrupt

    sys.unraisablehook = lambda _: None  # an interrupt may meet a finalizer
    with erl.start({"default": {"size": 2}}) as node, node.executor() as executor:
        assert executor.submit(abs, -7).result(60) == 7  # so that nothing is imported while it is interrupted
        futures: list[Any] = []
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            try:
                try:
                    is_armed[0] = True
                    futures.append(executor.submit(abs, -7))
                finally:
                    is_armed[0] = False
            except KeyboardInterrupt:
                is_armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert {future.result(60) for future in futures} == {7}
        assert executor.submit(abs, -1).result(60) == 1
    print(len(futures))


if __name__ == "__main__":
    main()
