"""A floor: frames of `{packet, 4}` back as they came, one read and one write for each."""

import contextlib
import fcntl
import os

for fd in (0, 1):
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, 1031, 1 << 20)  # F_SETPIPE_SZ


def read_exactly(count: int) -> bytes:
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 20))
        if not part:
            raise SystemExit
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


while True:
    header = read_exactly(4)
    frame = header + read_exactly(int.from_bytes(header, "big"))
    view = memoryview(frame)
    while view:
        view = view[os.write(1, view) :]
