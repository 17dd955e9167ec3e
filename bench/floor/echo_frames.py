"""A floor: every complete frame of a read is cut out and answered by itself, the answers written together.

What a server without a codec and without a call would do: the fair limit for calls a second.
"""

import contextlib
import fcntl
import os

for fd in (0, 1):
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, 1031, 1 << 20)  # F_SETPIPE_SZ
buffer = b""
while True:
    data = os.read(0, 1 << 16)
    if not data:
        raise SystemExit
    buffer = buffer + data if buffer else data
    answers = []
    start, end = 0, len(buffer)
    while end - start >= 4:
        stop = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
        if stop > end:
            break
        answers.append(buffer[start:stop])
        start = stop
    buffer = buffer[start:]
    view = memoryview(b"".join(answers))
    while view:
        view = view[os.write(1, view) :]
