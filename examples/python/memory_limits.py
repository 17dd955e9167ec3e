"""A pool whose workers may take 200 MB each: a task that wants more has a MemoryError, and nobody else notices.

python examples/python/memory_limits.py
"""

import os

import erl
from erl.errors import WorkerLostError

MOST_BYTES = 200_000_000


def table(rows):
    """Numbers as text; more than fits from some million rows on."""
    return len([str(number) * 5 for number in range(rows)])


def main():
    with erl.start({"default": {"size": 2, "max_memory": MOST_BYTES}}) as node:
        executor = node.executor()
        futures = {rows: executor.submit(table, rows) for rows in (1_000, 100_000_000, 2_000, 3_000)}
        for rows, future in futures.items():
            try:
                print(f"{rows} rows: {future.result()}")
            except MemoryError:
                print(f"{rows} rows: MemoryError")

        # What the limit does not see: a library that ends the process when it gets no memory.
        try:
            executor.submit(os.abort).result()
        except WorkerLostError as error:
            print(str(error).splitlines()[0])
        print(executor.submit(table, 1_000).result(), "rows, by a worker that came after it")


if __name__ == "__main__":
    main()
