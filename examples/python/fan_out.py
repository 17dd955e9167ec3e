"""Files fanned out to workers from a coroutine: 100 of them, one of which is more than its reader can take.

python examples/python/fan_out.py
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path

import erl
from erl.errors import TaskTimeoutError

FILES = 100
SECONDS = 3


def digest(path):
    """In a worker: reads, hashes; and never comes back from one of them."""
    data = path.read_bytes()
    while data == b"tar pit":
        pass
    return hashlib.sha256(data).hexdigest()


async def fan_out(node, paths):
    executor = node.executor(timeout=SECONDS)
    found = await asyncio.gather(*(executor.run(digest, path) for path in paths), return_exceptions=True)
    late = [path.name for path, each in zip(paths, found, strict=True) if isinstance(each, TaskTimeoutError)]
    digests = {each for each in found if isinstance(each, str)}
    print(f"{len(digests)} files read, given up after {SECONDS} s: {', '.join(late)}")

    # A standard executor, where a library wants one.
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(executor, digest, paths[0]) in digests)

    # Whoever is cancelled takes its task along, also one that runs.
    task = asyncio.create_task(executor.run(digest, paths[FILES // 2]))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print("cancelled:", task.cancelled())


def main():
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory, f"{number}.txt") for number in range(FILES)]
        for number, path in enumerate(paths):
            path.write_text("tar pit" if number == FILES // 2 else f"file {number}")
        with erl.start({"default": {"size": 2}}) as node:
            asyncio.run(fan_out(node, paths))


if __name__ == "__main__":
    main()
