"""A warmed interpreter that others are forked from: it has imported what a pool's `preload` names, and runs no call.

Erlang's `py_zygote` starts it and talks to it in lines, over descriptors 3 and 4:

    < listening          stubs may come; they wait until it is ready
    < threads N MODULE   there are threads after that import: it forks nothing, and ends
    < ready
    > ping               is it there, and as the sources are?
    < pong | changed
    > retire             fork no more, and end with the last fork

It ends at the end of that input: the application, or the node, has gone. The forks have life lines of their own. What a
stub says and hears is in `erl.runtime.stub`, which states there are and who can die when in docs/architecture.md
("Preloaded workers"). It has no key and no settings: they come to the fork, over the port.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import sys
from _signal import SIG_IGN, SIGINT, SIGKILL, signal  # type: ignore[import-not-found]
from contextlib import suppress
from time import time_ns

from erl.runtime import limits
from erl.wire import port

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Where these are 1, libraries of numerics start no threads when they are loaded."""
_MOST_FLAGS_BYTES = 4096
_GIVEN = 3
"""So many descriptors a stub gives: the standard error, the port's two."""


def run(path: str, modules: list[str]) -> tuple[int, int, list[str]]:
    """Be a zygote that listens at `path`. Returns in each fork, with the descriptors of its port, and its flags."""
    signal(SIGINT, SIG_IGN)
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        os._exit(1)  # a system that has none of these, Linux before 5.3 for one, has no zygotes
    zygote = _Zygote(path, *port.take_descriptors(3, 4))
    started_ns = time_ns()
    _warm(modules, zygote)
    zygote.sources = _stamps(started_ns)
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    zygote.tell("ready")
    return zygote.serve()


def _warm(modules: list[str], zygote: _Zygote) -> None:
    # What a worker's first call would import.
    import faulthandler  # noqa: F401
    import linecache  # noqa: F401
    import mmap  # noqa: F401
    import resource  # noqa: F401

    from erl.runtime import logs  # noqa: F401

    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    guilty = ""
    for module in modules:
        try:
            __import__(module)
        except BaseException:
            os._exit(1)  # a start without a zygote says why
        if not guilty and _threads() > 1:
            guilty = module
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    count = _threads()
    if count > 1:
        zygote.tell(f"threads {count} {guilty}")
        os._exit(0)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


_Stamp = tuple[int, int] | None


def _stamp(file: str) -> _Stamp:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _stamps(started_ns: int) -> dict[str, _Stamp]:
    """Time and size of the file of each module that is loaded, if it has been as it is since before that moment."""
    found: dict[str, _Stamp] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            stamp = _stamp(file)
            # One that was written meanwhile may be another than was read: it counts as changed.
            found[file] = (0, -1) if stamp is not None and stamp[0] >= started_ns else stamp
    return found


class _Fork:
    """A fork, and the stub that waits for its end."""

    def __init__(self, pid: int, pidfd: int, link: _socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.link = link


class _Zygote:
    def __init__(self, path: str, life_in: int, life_out: int) -> None:
        self.sources: dict[str, _Stamp] = {}
        self._path = path
        self._life_in, self._life_out = life_in, life_out
        self._listener: _socket.socket | None = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1024)
        self._links: dict[int, _socket.socket] = {}
        """Stubs that have asked for nothing yet."""
        self._by_pidfd: dict[int, _Fork] = {}
        self._by_link: dict[int, _Fork] = {}
        self._poll = select.poll()
        self._poll.register(life_in, select.POLLIN)
        self._poll.register(self._listener.fileno(), select.POLLIN)
        self._asked = b""
        self._rights: list[int] = []
        self._flags: list[str] = []
        self.tell("listening")

    def tell(self, line: str) -> None:
        """Say something to Erlang. Ends this process where nobody listens."""
        try:
            os.write(self._life_out, line.encode() + b"\n")
        except OSError:
            os._exit(0)

    def serve(self) -> tuple[int, int, list[str]]:
        """Fork whenever a stub asks; returns in the fork."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._life_in:
                    self._heed()
                elif fd in self._by_pidfd:
                    self._ended(self._by_pidfd[fd])
                elif fd in self._by_link:
                    self._abandoned(self._by_link[fd])
                elif fd in self._links:
                    if self._forked(self._links[fd]):
                        return self._become()
                elif self._listener is not None and fd == self._listener.fileno():
                    link = _socket.socket(fileno=self._listener._accept()[0])  # type: ignore[attr-defined]
                    self._links[link.fileno()] = link
                    self._poll.register(link.fileno(), select.POLLIN)
            if self._listener is None and not self._by_pidfd:
                os._exit(0)

    def _heed(self) -> None:
        said = os.read(self._life_in, 4096)
        if not said:
            os._exit(0)
        *lines, self._asked = (self._asked + said).split(b"\n")
        for line in lines:
            if line == b"ping":
                self.tell("changed" if self._is_changed() else "pong")
            elif line == b"retire":
                self._retire()

    def _is_changed(self) -> bool:
        return any(_stamp(file) != stamp for file, stamp in self.sources.items())

    def _retire(self) -> None:
        if self._listener is not None:
            self._poll.unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for link in list(self._links.values()):
            self._forget(link)  # it starts without a zygote

    def _forget(self, link: _socket.socket) -> None:
        self._links.pop(link.fileno(), None)
        self._by_link.pop(link.fileno(), None)
        with suppress(KeyError):  # it was abandoned before
            self._poll.unregister(link.fileno())
        link.close()

    def _ended(self, fork: _Fork) -> None:
        pid, status = os.waitpid(fork.pid, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):  # the stub has ended first
            fork.link.send(b"exit %d\n" % (code if code >= 0 else 128 - code))
        del self._by_pidfd[fork.pidfd]
        self._poll.unregister(fork.pidfd)
        os.close(fork.pidfd)
        self._forget(fork.link)

    def _abandoned(self, fork: _Fork) -> None:
        """The stub has ended: so must its fork, which nobody watches."""
        self._poll.unregister(fork.link.fileno())
        del self._by_link[fork.link.fileno()]
        try:
            os.killpg(fork.pid, SIGKILL)
        except ProcessLookupError:
            os.kill(fork.pid, SIGKILL)  # it is not reaped, so the number is its own

    def _forked(self, link: _socket.socket) -> bool:
        """Fork for the stub that asks over this link; whether this is the fork."""
        try:
            flags = _socket.MSG_CMSG_CLOEXEC | _socket.MSG_DONTWAIT
            said, control, _, _ = link.recvmsg(_MOST_FLAGS_BYTES, _socket.CMSG_SPACE(4 * _GIVEN), flags)
        except BlockingIOError:
            return False  # it was about another link of that number
        except OSError:
            said, control = b"", []
        rights = [
            int.from_bytes(content[at : at + 4], sys.byteorder)
            for _, _, content in control
            for at in range(0, len(content) - 3, 4)
        ]
        if not said or len(rights) != _GIVEN:
            for fd in rights:
                os.close(fd)
            self._forget(link)
            return False
        word_in, word_out = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(word_out)
            if not os.read(word_in, 1):
                os._exit(1)  # the stub was not told, and may be a plain start: the port is its own
            os.close(word_in)
            self._rights, self._flags = rights, said.decode().split("\n")
            return True
        for fd in (*rights, word_in):
            os.close(fd)
        with suppress(OSError):  # it has done so itself, or has ended
            os.setpgid(pid, pid)
        pidfd = os.pidfd_open(pid)
        del self._links[link.fileno()]
        fork = _Fork(pid, pidfd, link)
        self._by_pidfd[pidfd] = self._by_link[link.fileno()] = fork
        self._poll.register(pidfd, select.POLLIN)
        told = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))]
        with suppress(OSError):  # the stub has ended, which its link says, too
            link.sendmsg([b"pid %d\n" % pid], told)
            os.write(word_out, b"\n")
        os.close(word_out)
        return False

    def _become(self) -> tuple[int, int, list[str]]:
        """In the fork: be what a start without a zygote would have made."""
        os.setpgid(0, 0)
        if self._listener is not None:
            self._listener.close()
        for link in self._links.values():
            link.close()
        for fork in self._by_pidfd.values():
            fork.link.close()
            os.close(fork.pidfd)
        os.close(self._life_in)
        os.close(self._life_out)
        errors, in_fd, out_fd = self._rights
        os.dup2(errors, 2)
        os.close(errors)
        limits.inherited_bytes = _data_bytes()
        # `random` does so itself; numpy's old generator does not.
        if "numpy.random" in sys.modules:
            numpy_random: Any = sys.modules["numpy.random"]
            numpy_random.seed()
        return in_fd, out_fd, self._flags


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: proc(5), the sixth number of `statm`, in pages."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
