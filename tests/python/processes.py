"""CPython's own pool of processes, for tests of what stands on any executor."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that are spawned.

    Python 3.11.2 (Debian 12) may lose the word that the pool is to end where a result comes with it, and waits for ever
    in `shutdown`: it is told until it has ended.
    """
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        manager = pool._executor_manager_thread
        pool.shutdown(wait=False)
        while manager is not None and manager.is_alive():
            with suppress(OSError):  # it ends, and closes what it is told by
                manager.thread_wakeup.wakeup()
            manager.join(0.1)
