"""The port: what only it and `erl.wire.frames` touch are the descriptors.

The protocol's descriptors are moved away from the numbers that user code, C code and subprocesses write to, and are
closed on exec. Writes are collected and go out together with `flush`; they may come from any thread, and from whatever
enters one.
"""

from __future__ import annotations

import os
from select import PIPE_BUF as _PIPE_BUF
from select import POLLIN as _POLLIN
from select import POLLOUT as _POLLOUT
from select import poll as _poll  # kept: user code that patches itself takes it away

from erl import codec, errors
from erl.values import steps
from erl.wire import BUSY, CLOSED

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FLUSH_BYTES = 1 << 20
_FIRST_FREE = 5
"""Descriptors 3 and 4 were the protocol's, and are nobody's."""
_SET_PIPE_BYTES = 1031
"""Linux's F_SETPIPE_SZ (fcntl(2)); `fcntl` has the name from 3.10 on, on some builds only."""
_GONE = (0, 32, 104)
"""The numbers of errors by which the other end is gone: none, EPIPE, ECONNRESET."""
_PAGE_BYTES = 64
_MOST_MS = 1_000_000_000
_GRACE_SECONDS = 0.5
_RINGS = 64
_INTERRUPTION = b"\1"
_INSISTENCE = b"\2"
"""The same where Erlang has raised a signal, too."""
_AWAIT_MS = 500


class PortClosedError(BaseException):
    """Raised when Erlang has closed the port: time to leave, whatever user code catches.

    `error` is the number of another error, where user code has closed or replaced a descriptor; else 0.
    """

    def __init__(self, error: int = 0) -> None:
        super().__init__()
        self.error = 0 if error in _GONE else error


class Port:
    """Reads and writes frames on two descriptors."""

    def __init__(self, in_fd: int, out_fd: int, packet: int = 4, buffer_bytes: int = 65536) -> None:
        self._in = in_fd
        self._out = out_fd
        self.packet = packet
        self.limit = 1 << (8 * packet)
        """Frames are shorter than this."""
        self.frames = _frame_buffer(packet, buffer_bytes)
        self._outlet = _outlet()
        self.pending: list[bytes] = self._outlet.pending
        """What `flush` is to write, always the same list; a frame's length and the frame are added in one step."""
        self._pending_bytes = 0
        self.bell = -1
        """A descriptor by which Erlang asks for what is pending; see `hear`."""
        self._watched = _poll()
        self._awaits_bell = False
        self.insist: Callable[[bool], object] = bool
        """What that thread does when Erlang rings for an interruption."""

    def read(self, timeout: float | None = None, seen: int = -1) -> bool:
        """Read once, and wait for bytes as long as that, in seconds; False where another thread reads.

        Comes back earlier where signals come, or `frames.moves` is not what was `seen`. Raises `PortClosedError`.
        """
        count = self.frames.read(
            self._in, -1 if timeout is None else min(int(timeout * 1000 + 0.999), _MOST_MS), seen
        )
        if count == CLOSED:
            raise PortClosedError(self.frames.error)
        return bool(count != BUSY)

    def write(self, frame: bytes, *then: steps.Step) -> None:
        """Add a frame to what `flush` writes, and do these steps, all at once. Raises `EncodeError`: see `check`."""
        if len(frame) >= self.limit:
            self.check(frame)
        both: tuple[bytes, ...] = (len(frame).to_bytes(self.packet, "big"), frame)
        if self._out < 0:
            both = ()
        if then:
            # What is done before the frame is added keeps it out by an exception.
            steps.at_once(steps.together(*then, map(self.pending.extend, (both,))))
        else:
            self.pending += both
        self._pending_bytes += len(frame)  # may miss one of theirs
        if self._pending_bytes > _FLUSH_BYTES:
            self.flush()

    def check(self, frame: bytes) -> None:
        """Raises `EncodeError` for a frame that the packet length can't count."""
        if len(frame) >= self.limit:
            raise errors.EncodeError(
                f"a message of {len(frame)} bytes; with a packet length of {self.packet} bytes it has at most"
                f" {self.limit - 1}"
            )

    def flush(self) -> None:
        """Write what is pending, and wait for what another thread is writing. Raises `PortClosedError`."""
        self._pending_bytes = 0
        if self._out >= 0:
            error = self._outlet.flush(self._out)
            if error:
                raise PortClosedError(error)

    def flush_at_once(self) -> None:
        """Write what is pending if that waits for nobody; for a signal handler. Raises `PortClosedError`."""
        # A pipe that can be written to takes as much as is never written in parts (PIPE_BUF, pipe(7)).
        if self._out >= 0 and sum(map(len, self.pending)) <= _PIPE_BUF and not self.is_writing:
            writable = _poll()
            writable.register(self._out, _POLLOUT)
            if writable.poll(0):
                self.flush()

    def watch(self, awaits_bell: bool) -> None:
        """Start a thread that ends the process when Erlang closes the port, also while user code runs.

        It sleeps in `poll` until then; the main thread has half a second to end in good order.
        """
        from _thread import start_new_thread
        from time import sleep

        self._awaits_bell = awaits_bell
        self._watched.register(self._in, 0)  # hang-up is always reported

        def watch() -> None:
            while self._in not in (ready := self._ready()):
                for bell in ready:
                    if not self._rung(bell):
                        self._watched.unregister(bell)
            sleep(_GRACE_SECONDS)  # the main thread's time to run exit handlers
            os._exit(0)

        start_new_thread(watch, ())

    def hear(self, bell: int) -> None:
        """Have that thread write what is pending whenever a byte comes from this descriptor; below 0: there is none."""
        if bell >= 0:
            self._watched.register(bell, _POLLIN)
        self.bell = bell
        self._awaits_bell = False

    def _ready(self) -> list[int]:
        """The descriptors where something has happened; none, now and then, as long as one is awaited."""
        return [descriptor for descriptor, _ in self._watched.poll(_AWAIT_MS if self._awaits_bell else None)]

    def _rung(self, bell: int, read: Callable[[int, int], bytes] = os.read) -> bool:
        """Do what somebody has rung for; False where nobody will again. What is pending is written each time."""
        try:
            rings = read(bell, _RINGS)  # `os` may be gone already, at the end of the process
            if (is_raised := _INSISTENCE in rings) or _INTERRUPTION in rings:
                self.insist(is_raised)
            self.flush()
        except (OSError, PortClosedError):
            return False
        return bool(rings)

    @property
    def is_writing(self) -> bool:
        """Whether this thread was entered in the middle of `flush`: what it adds waits until that goes on."""
        inside: bool = self._outlet.is_inside
        return inside

    def abandon(self) -> None:
        """Leave the port to the process that this one was forked from: nothing is read or written here again."""
        if self._in < 0:
            return  # the parent was forked, too
        self._outlet.renew()
        self.frames.renew()  # the calls that had arrived are the parent's to run
        os.close(self._in)
        os.close(self._out)
        if self.bell >= 0:
            os.close(self.bell)
        self._in = self._out = self.bell = -1


def _frame_buffer(packet: int, first_bytes: int) -> Any:
    """A `FrameBuffer`, compiled where the codec is."""
    if codec.FrameBuffer is not None:
        return codec.FrameBuffer(packet, first_bytes)
    from erl.wire import frames

    return frames.FrameBuffer(packet, first_bytes)


def _outlet() -> Any:
    """An `Outlet`, compiled where the codec is."""
    if codec.Outlet is not None:
        return codec.Outlet()
    from erl.wire import frames

    return frames.Outlet()


def private(fd: int) -> int:
    """Move a descriptor to a high number that is closed on exec, and close the old one."""
    import fcntl

    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
    except OSError:  # so few are allowed (`ulimit -n`)
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


def take_descriptors(in_fd: int, out_fd: int) -> tuple[int, int]:
    """The protocol's two descriptors, made private; 0 becomes /dev/null and 1 becomes 2, for user code to use."""
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


def redirect_errors(path: bytes) -> int:
    """Send what is written to descriptors 1 and 2 to the socket at `path`, where the worker process listens.

    Returns another descriptor of that socket, the bell (see `Port.hear`). Where that can't be, the two stay what they
    are, and there is none: -1.
    """
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        for descriptor in (1, 2):
            os.dup2(connection.fileno(), descriptor)
        return private(connection.detach())
    except OSError:
        return -1
    finally:
        connection.close()


def shared_counter(path: bytes) -> memoryview | None:
    """The file at `path`, mapped: what is stored there outlives this process. None where it can't be.

    Native integers of eight bytes: how many calls were begun, which Python writes, and, where there are 64 bytes, in
    the third how many bytes of output Erlang has taken.
    """
    import mmap

    # The mapping keeps a descriptor, and takes the lowest number: not one that user code may take for the protocol's.
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < _FIRST_FREE:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            return memoryview(mmap.mmap(file.fileno(), _PAGE_BYTES if size >= _PAGE_BYTES else 8))
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
