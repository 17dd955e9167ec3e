"""A floor: bytes back as they came, as many as one read gives: what a pipe and an interpreter can do at most."""

import contextlib
import fcntl
import os

for fd in (0, 1):
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, 1031, 1 << 20)  # F_SETPIPE_SZ
while True:
    data = os.read(0, 1 << 20)
    if not data:
        raise SystemExit
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
