"""A BEAM of this process's own: found, started, asked to end, and looked at when it did not start.

> {start, Version, Settings}     over the child's descriptor 0, a socket; with its end the child ends
< {ready, Version, Info}
< {failed, Reason, Text}
> {stop, Milliseconds}
"""

from __future__ import annotations

import codecs
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from erl import codec, errors
from erl.link import protocol
from erl.link.prints import text_of
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

OLDEST_OTP: Final = 25
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 6.0
_TAIL_BYTES: Final = 1 << 14
_QUIET: Final = ("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")
"""Schedulers that have nothing to do leave the processors to the workers (erl(1))."""
_LEAST_FILES: Final = 512
"""So many open files are enough for a node with a few workers."""
_CLEARED: Final = (
    "ERL_AFLAGS",
    "ERL_COMPILER_OPTIONS",
    "ERL_CRASH_DUMP_BYTES",
    "ERL_CRASH_DUMP_NICE",
    "ERL_EPMD_ADDRESS",
    "ERL_EPMD_PORT",
    "ERL_FLAGS",
    "ERL_INETRC",
    "ERL_LIBS",
    "ERL_ZFLAGS",
    "ERL_ROOTDIR",
)
INSTALL: Final = "install Erlang/OTP 25 or later (Debian, Ubuntu: apt-get install erlang-base erlang-crypto)"


class Child:
    """A BEAM that was started, and its end of the socket."""

    def __init__(self, settings: dict[str, object]) -> None:
        program, code = _program(), _code()
        self._socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [
                    program,
                    "-noinput",
                    "-boot",
                    "no_dot_erlang",
                    "-start_epmd",
                    "false",
                    *_QUIET,
                    "-pa",
                    str(code),
                    "-s",
                    "py_node",
                    "main",
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
                cwd=_place(),
            )
        except OSError as error:
            self._socket.close()
            raise errors.NodeError(f"{program} can't be run ({error.strerror}): {INSTALL}") from error
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._tail = bytearray()
        self._is_shown = False
        self._drain = threading.Thread(target=self._read_tail, name="erl-node-output", daemon=True)
        self._drain.start()
        try:
            self.info = self._started(settings, program)
            # From here on it is what tasks write there.
            self._is_shown = True
        except BaseException:
            self.kill()
            raise

    @property
    def os_pid(self) -> int:
        """The BEAM's."""
        return int(self._process.pid)

    def _read_tail(self) -> None:
        output: Any = self._process.stdout
        with output:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            while data := output.read1(65_536):
                self._tail += data
                if len(self._tail) > 2 * _TAIL_BYTES:
                    del self._tail[:-_TAIL_BYTES]
                if self._is_shown:
                    _show(decoder.decode(data))

    def tail(self) -> str:
        """The last lines of what it has written to its standard error."""
        lines = bytes(self._tail[-_TAIL_BYTES:]).decode(errors="replace").splitlines()
        return "\n".join(lines[-20:])

    def _started(self, settings: dict[str, object], program: str) -> dict[str, Any]:
        start = {Atom(key): value for key, value in settings.items()}
        self._socket.settimeout(_START_SECONDS)
        try:
            self._socket.sendall(protocol.message("start", protocol.VERSION, start))
            answer: Any = self._receive()
        except TimeoutError:
            raise errors.NodeError(
                f"the node has not started within {_START_SECONDS:.0f} s\n{self.tail()}"
            ) from None
        except (OSError, EOFError):
            answer = None
        if type(answer) is tuple and answer[0] == "ready" and len(answer) == 3:
            return {str(key): value for key, value in answer[2].items()}
        if type(answer) is tuple and answer[0] == "failed" and len(answer) == 3:
            raise errors.NodeError(f"the node has not started: {text_of(answer[2])}{_few_files()}")
        self.kill()
        raise errors.NodeError(f"{_why_not(program, self.tail()).rstrip()}{_few_files()}")

    def _receive(self) -> object:
        size = int.from_bytes(self._exactly(4), "big")
        return codec.decode(self._exactly(size), protocol.OPTIONS)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def stop(self, seconds: float = 0.0) -> None:
        """Let it end: open calls may take so long. Killed where it does not."""
        try:
            self._socket.settimeout(1)
            self._socket.sendall(protocol.message("stop", int(seconds * 1000)))
        except OSError:
            pass
        try:
            self._process.wait(seconds + _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it now; what it has started ends with it."""
        self._socket.close()
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
            self._process.wait()
        self._drain.join(1)

    def ended(self) -> str:
        """How it has ended, if it has, and its last lines, where they say something."""
        try:
            status = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return ""
        self._socket.close()
        self._drain.join(1)
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        tail = self.tail()
        return f" ({how})" + (f"\n{tail}" if tail else "")

    def forked(self) -> None:
        """In a child that was forked: the BEAM is to see its parent's end, not this process's."""
        self._socket.close()


def _show(text: str) -> None:
    """Write to the standard error that this program has now, which may be a notebook's cell, or none."""
    stream = sys.stderr
    try:
        stream.write(text)
        stream.flush()
    except Exception:  # a stream of the program's own
        return


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _CLEARED and not (name.startswith("ERL_OTP") and name.endswith("_FLAGS"))
    }
    kept.setdefault("ERL_CRASH_DUMP_SECONDS", "0")
    return kept


def _place() -> str | None:
    """The working directory of what is started: this process's, unless it is gone, where Erlang does not start."""
    try:
        os.getcwd()
    except OSError:
        return "/"
    return None


def _program() -> str:
    found = shutil.which("erl")
    if found is None:
        raise errors.NodeError(f"there is no Erlang here (no `erl` on PATH): {INSTALL}")
    return found


def _code() -> Path:
    """Where the compiled application is: in this package, or in the checkout that this package is part of."""
    package = Path(__file__).resolve().parents[1]
    places = (
        package / "otp" / "ebin",
        package / "otp",
        package.parents[1] / "_build" / "default" / "lib" / "py" / "ebin",
    )
    for place in places:
        if (place / "py.app").is_file():
            return place
    raise errors.NodeError(
        "this package was installed without its Erlang half, as there was no Erlang: "
        f"{INSTALL}, then install the package anew; in a checkout: make build"
    )


def _few_files() -> str:
    """What is said as well where this process, and so the node, may have too few files open."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY or most >= _LEAST_FILES:
        return ""
    return f"\nit may have {most} files open at a time (ulimit -n), which may be too few: {_LEAST_FILES} are enough"


def _why_not(program: str, tail: str) -> str:
    """Why a BEAM that has said nothing did not start."""
    probe = (
        'io:format("~s ~s", [erlang:system_info(otp_release), '
        "case code:which(crypto) of non_existing -> no; _ -> yes end]), halt()."
    )
    try:
        asked = subprocess.run(
            [program, "-noinput", "-boot", "start_clean", "-eval", probe],
            capture_output=True,
            text=True,
            timeout=20,
            env=_environment(),
            stdin=subprocess.DEVNULL,
        )
        release, _, crypto = asked.stdout.partition(" ")
    except (OSError, subprocess.SubprocessError):
        return f"{program} does not run: {INSTALL}\n{tail}"
    if not release.isdecimal():
        return f"{program} does not run: {INSTALL}\n{asked.stderr[-2000:]}"
    if int(release) < OLDEST_OTP:
        return f"{program} is Erlang/OTP {release}: {INSTALL}"
    if crypto != "yes":
        return f"{program} has no crypto: install it (Debian, Ubuntu: apt-get install erlang-crypto)"
    return f"the node has not started\n{tail}"
