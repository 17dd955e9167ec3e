"""A link's socket: one thread reads, and whoever finds nobody writing writes all that waits.

Nobody waits in a write: what the socket does not take is the reader's, which writes it when there is room. So a handler
of a signal may send in the middle of a send, and a node that does not read holds up nobody.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading

from erl import errors
from erl.link.protocol import MOST_BYTES, Protocol
from erl.values import steps
from erl.wire.frames import is_of_a_handler

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from erl.link.protocol import Event

_READ_BYTES: Final = 1 << 18
_BATCH_BYTES: Final = 1 << 18
_BUFFER_BYTES: Final = 1 << 20


class Channel:
    """One socket.

    `handle` is called with each event, in the reader's thread, and `ended`, once, with why the link is over. Where
    `handle` raises, the link is over.
    """

    def __init__(
        self,
        connection: socket.socket,
        handle: Callable[[Event], object],
        ended: Callable[[str], object],
        after: Callable[[], object],
        intake: Callable[[Callable[[bytes], Event]], Any] | None = None,
    ) -> None:
        """`after` is called when what was read is handled. `intake` makes what has common messages handled in C."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        connection.setblocking(False)
        self._socket = connection
        self._protocol = Protocol()
        self._intake: Any = None if intake is None else intake(self._protocol.event)
        self._handle = handle
        self._after = after
        self._ended = ended
        self.out: list[bytes] = []
        """Frames that wait."""
        self._batch: list[bytes] = []
        self._done: list[int] = []
        """What is being written, and how many bytes of it were, noted in the step that writes them."""
        self._writing: Any = threading.RLock()
        self._wakes, self._wake_end = socket.socketpair()
        self._wakes.setblocking(False)
        self._wake_end.setblocking(False)
        self._is_full = False
        self._closing = ""
        self._pid = os.getpid()
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name="erl-link", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def is_reader(self) -> bool:
        """Whether this is the reader's thread, which must not wait for what it has to read itself."""
        return threading.get_ident() == self._thread.ident

    def send(self, frame: bytes) -> None:
        """Send a frame. It is written before this returns, or by whoever is writing. Waits for nothing."""
        self.out.append(frame)
        self.flush()

    def adding(self, frame: bytes) -> steps.Step:
        """A step: have a frame written with the next ones."""
        return steps.each(self.out.append, frame)

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        try:
            while (self.out or self._batch) and not (self._is_full or self.is_over):
                if self._writing._is_owned():
                    return  # entered in the middle of it, by the handler of a signal
                with self._writing:
                    self._write()
        except BaseException:
            self._wake()  # the reader goes on with it
            raise
        if self._is_full and not self.is_reader:
            self._wake()

    def _write(self) -> None:
        """Write until nothing waits, or the socket is full. Errors are the reader's, who meets them as well."""
        out, batch, done = self.out, self._batch, self._done
        while out or batch:
            if not batch:
                count, size = 0, 0
                for frame in out:
                    count, size = count + 1, size + len(frame)
                    if size >= _BATCH_BYTES:
                        break
                joined = b"".join(out[:count]) if count > 1 else out[0]
                steps.at_once(
                    steps.together(steps.each(batch.append, joined), steps.replaced(out, count, []))
                )
            view = memoryview(batch[0])[sum(done) :]
            if not view:
                steps.at_once(steps.together(steps.each(batch.pop), steps.replaced(done, len(done), [])))
                continue
            try:
                done.extend(map(self._socket.send, (view,)))
            except (BlockingIOError, InterruptedError):
                self._is_full = True
                return
            except OSError as error:
                if is_of_a_handler(error):
                    raise
                out.clear()
                return

    def _wake(self) -> None:
        try:
            self._wake_end.send(b"!")
        except OSError:  # it is full of them, or the link is over
            return

    def close(self, why: str) -> None:
        """End the link. The reader says so to `ended`; waits for it, but not for long."""
        self._closing = why
        self._wake()
        if not self.is_reader and self._thread.ident is not None:
            self._thread.join(5)

    def forked(self) -> None:
        """In a child: let go of the parent's descriptors."""
        self.is_over = True
        for each in (self._socket, self._wakes, self._wake_end):
            each.close()

    def _run(self) -> None:
        why = "the link was closed"
        try:
            why = self._read()
        except errors.ProtocolError as error:
            why = str(error)
        except BaseException as error:  # whatever it is: the futures must hear of it
            why = f"the link failed: {type(error).__name__}: {error}"
        finally:
            self.is_over = True
            if os.getpid() == self._pid:
                self._socket.close()
                self._ended(why)
                self._wakes.close()
                self._wake_end.close()

    def _read(self) -> str:
        connection, wakes = self._socket, self._wakes
        poll = select.poll()
        poll.register(wakes, select.POLLIN)
        poll.register(connection, select.POLLIN)
        buffer = memoryview(bytearray(_READ_BYTES))
        writes = False
        while True:
            if self._is_full is not writes:
                writes = self._is_full
                poll.modify(connection, select.POLLIN | (select.POLLOUT if writes else 0))
            ready = poll.poll()
            if self._closing:
                return self._closing
            for fd, events in ready:
                if fd == wakes.fileno():
                    self._slept(wakes)
                    self.flush()
                    continue
                if events & select.POLLOUT:
                    self._is_full = False
                    self.flush()
                if events & ~select.POLLOUT:
                    try:
                        size = connection.recv_into(buffer)
                    except (BlockingIOError, InterruptedError):
                        continue
                    except OSError as error:
                        return f"the node is gone ({error.strerror})"
                    if not size:
                        return "the node is gone"
                    self._received(buffer[:size])
                    self._after()

    def _received(self, data: memoryview) -> None:
        handle, intake = self._handle, self._intake
        if intake is None:
            for event in self._protocol.receive(data):
                handle(event)
                del event  # a result is its future's alone
            return
        intake.add(data)
        while (event := intake.next(MOST_BYTES)) is not None:
            handle(event)
            del event

    @staticmethod
    def _slept(wakes: socket.socket) -> None:
        try:
            wakes.recv(4096)
        except OSError:
            return


def connected(path: str, timeout: float) -> socket.socket:
    """A socket that is connected to this path. Raises `errors.NodeError`."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(path)
        _check_peer(made, path)
    except (ConnectionRefusedError, FileNotFoundError):
        made.close()
        raise errors.NodeError(f"nobody listens at {path}: the node that made it is gone") from None
    except OSError as error:
        made.close()
        raise errors.NodeError(f"can't connect to {path}: {error.strerror or error}") from error
    except BaseException:
        made.close()
        raise
    return made


def _check_peer(made: socket.socket, path: str) -> None:
    """Whoever listens must be this user, or root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return
    credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid not in (os.geteuid(), 0):
        raise errors.NodeError(f"who listens at {path} is another user (uid {uid})")
