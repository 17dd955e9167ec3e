"""The port: the only module that touches descriptors.

The protocol's descriptors are moved away from the numbers that user code, C code and subprocesses write to, and are
closed on exec. Writes are collected and go out together with `flush`; they may come from any thread.
"""

from __future__ import annotations

import os
from _thread import RLock

from erl import errors, wire

_FLUSH_BYTES = 1 << 20
_LARGE_BYTES = 65536
_FIRST_FREE = 5
"""Descriptors 3 and 4 were the protocol's, and are nobody's."""
_SET_PIPE_BYTES = 1031
"""Linux's F_SETPIPE_SZ (fcntl(2)); `fcntl` has the name from 3.10 on, on some builds only."""


class PortClosedError(BaseException):
    """Raised when Erlang has closed the port: time to leave, whatever user code catches."""


class Port:
    """Reads and writes frames on two descriptors."""

    def __init__(self, in_fd: int, out_fd: int, packet: int = 4, buffer_bytes: int = 65536) -> None:
        self._in = in_fd
        self._out = out_fd
        self.packet = packet
        self.limit = 1 << (8 * packet)
        """Frames are shorter than this."""
        self.buffer = wire.frame_buffer(packet, buffer_bytes)
        self.pending: list[bytes] = []
        """What `flush` is to write, always the same list; a frame's length and the frame are added in one step."""
        self._pending_bytes = 0
        self._writing = 0
        self._lock = RLock()

    def take(self) -> bytes | None:
        """The next frame that has arrived, None when there is no complete one."""
        return self.buffer.take()

    def wait(self) -> None:
        """Wait for bytes. Raises `PortClosedError`."""
        try:
            count = os.readv(self._in, [self.buffer.free()])
        except OSError as error:
            raise PortClosedError from error
        if count == 0:
            raise PortClosedError
        self.buffer.fill(count)

    def drop(self) -> bytes:
        """Read the frame that is coming to its end without keeping it; its first bytes. Raises `PortClosedError`."""
        head, missing = self.buffer.drop()
        while missing:
            try:
                count = len(os.read(self._in, min(missing, _LARGE_BYTES)))
            except OSError as error:
                raise PortClosedError from error
            if count == 0:
                raise PortClosedError
            missing -= count
        return head

    def has_more(self, timeout: float) -> bool:
        """Whether `wait` would return at once, or within `timeout` seconds."""
        import select

        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def write(self, frame: bytes) -> None:
        """Add a frame to what `flush` writes. Raises `EncodeError` for one that the packet length can't count."""
        if len(frame) >= self.limit:
            raise errors.EncodeError(
                f"a message of {len(frame)} bytes; with a packet length of {self.packet} bytes it has at most"
                f" {self.limit - 1}"
            )
        if self._out < 0:
            return
        # Extending a list by a tuple is one step for other threads; the count of bytes may miss one of theirs.
        self.pending += (len(frame).to_bytes(self.packet, "big"), frame)
        self._pending_bytes += len(frame)
        if self._pending_bytes > _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, and wait for what another thread is writing. Raises `PortClosedError`."""
        if not self.pending and not self._writing:
            return
        with self._lock:
            self._writing += 1
            try:
                pending = self.pending.copy()
                del self.pending[: len(pending)]
                self._pending_bytes = 0
                if self._out >= 0:
                    self._write_chunks(pending)
            finally:
                self._writing -= 1

    @property
    def is_writing(self) -> bool:
        """Whether this thread is in `flush`, for a signal handler: what it raised would cut a frame off."""
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # not in typeshed
        return owned

    def abandon(self) -> None:
        """Leave the port to the process that this one was forked from: nothing is read or written here again."""
        if self._in < 0:
            return  # the parent was forked, too
        self._lock = RLock()
        self._writing = 0
        self.pending.clear()
        while self.buffer.take() is not None:
            pass  # the calls that had arrived are the parent's to run
        os.close(self._in)
        os.close(self._out)
        self._in = self._out = -1

    def _write_chunks(self, chunks: list[bytes]) -> None:
        """Write the small ones together, the large ones uncopied."""
        small: list[bytes] = []
        for chunk in chunks:
            if len(chunk) > _LARGE_BYTES:
                self._write_all(b"".join(small))
                small.clear()
                self._write_all(chunk)
            else:
                small.append(chunk)
        self._write_all(b"".join(small))

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except OSError as error:
                raise PortClosedError from error


def private(fd: int) -> int:
    """Move a descriptor to a high number that is closed on exec, and close the old one."""
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(fd)
    return moved


def take_descriptors(use_stdio: bool) -> tuple[int, int]:
    """The protocol's two descriptors, made private; 0 becomes /dev/null and 1 becomes 2, for user code to use."""
    in_fd, out_fd = (0, 1) if use_stdio else (3, 4)
    moved = private(in_fd), private(out_fd)
    for fd in moved:
        _widen(fd)
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)
    os.set_inheritable(0, True)
    os.dup2(2, 1)
    return moved


def redirect_errors(path: bytes) -> None:
    """Send what is written to descriptors 1 and 2 to the socket at `path`, where the worker process listens.

    Where that can't be, they stay what they are.
    """
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        for descriptor in (1, 2):
            os.dup2(connection.fileno(), descriptor)
    except OSError:
        return
    finally:
        connection.close()


def shared_counter(path: bytes) -> memoryview | None:
    """Eight bytes of the file at `path`, mapped: what is stored there outlives this process. None where it can't be."""
    import mmap

    # The mapping keeps a descriptor, and takes the lowest number: not one that user code may take for the protocol's.
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < _FIRST_FREE:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        with open(path, "r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), 8))
    except (OSError, ValueError):
        return None
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _widen(fd: int) -> None:
    """Let a pipe hold a megabyte, so that a large frame takes few turns; where it is no pipe, or none may, leave it."""
    import fcntl

    try:
        fcntl.fcntl(fd, _SET_PIPE_BYTES, 1 << 20)
    except OSError:
        return


def leave_when_closed(in_fd: int, grace_seconds: float) -> None:
    """Start a thread that ends the process when Erlang closes the port, also while user code runs.

    It sleeps in `poll` until then; the main thread has `grace_seconds` to end in good order.
    """
    import select
    from _thread import start_new_thread
    from time import sleep

    def watch() -> None:
        poll = select.poll()
        poll.register(in_fd, 0)  # hang-up is always reported
        poll.poll()
        sleep(grace_seconds)  # the main thread's time to run exit handlers
        os._exit(0)

    start_new_thread(watch, ())
