"""`python -m erl submit`: a script with a link to a node, as a process of its own.

    submit [--connect [PATH]] [standalone] python FILE [NAME] ARGS...
    submit [--connect [PATH]] [standalone] python_zip ZIP ENTRY ARGS...

The script's `erl.here()`, and whatever names no node, is that node: one that is started for it, or the one of
`--connect`. Standard streams, exit status and signals are the script's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

from erl import errors
from erl.link import nodes

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, NoReturn

_USAGE: Final = """\
usage: python -m erl submit [--connect [PATH]] [standalone] python FILE [NAME] ARGS...
       python -m erl submit [--connect [PATH]] [standalone] python_zip ZIP ENTRY ARGS...

Run a Python script with a link to a node: one of its own, or with --connect the one that listens at PATH (default:
this user's). Standard streams and the exit status are the script's. NAME, the script's name once more, may be left out.
"""
_KINDS: Final = ("python", "python_zip")
_RUNS_IT: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "submitted.py")
_PR_SET_PDEATHSIG: Final = 1


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    rest = list(arguments)
    if not rest or rest[0] in ("-h", "--help"):
        print(_USAGE, end="", file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 2
    socket: str | None = None
    is_joined = rest[0] == "--connect" or rest[0].startswith("--connect=")
    if is_joined:
        socket = rest.pop(0).partition("=")[2] or None
        if socket is None and rest and rest[0] not in ("standalone", *_KINDS):
            socket = rest.pop(0)
    if rest[:1] == ["standalone"]:
        del rest[0]
    if len(rest) < 2 or rest[0] not in _KINDS or (rest[0] == "python_zip" and len(rest) < 3):
        print(_USAGE, end="", file=sys.stderr)
        return 2
    unpacked = None
    try:
        if rest[0] == "python":
            script, args = os.path.abspath(rest[1]), rest[2:]
            if args[:1] == [os.path.basename(script)]:
                del args[0]
        else:
            unpacked = tempfile.mkdtemp(prefix="erl-submit-")
            script, args = _unpacked(rest[1], rest[2], unpacked), rest[3:]
        if not os.path.isfile(script):
            raise errors.NodeError(f"there is no file {script}")
        return _supervised(script, args, is_joined, socket)
    except errors.NodeError as error:
        print(f"erl submit: {error}", file=sys.stderr)
        return 1
    finally:
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)


def _unpacked(archive: str, entry: str, directory: str) -> str:
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(directory)
    except (OSError, zipfile.BadZipFile) as error:
        raise errors.NodeError(f"{archive}: {error}") from None
    script = os.path.normpath(os.path.join(directory, entry))
    if not script.startswith(directory + os.sep):
        raise errors.NodeError(f"{entry} is not in {archive}")
    return script


def _supervised(script: str, args: list[str], is_joined: bool, socket: str | None) -> int:
    """Run the script beside its node; both end with this process."""
    if is_joined:
        node = nodes.connect(socket)
    else:
        # The workers find what the script finds.
        sys.path[:] = [os.path.dirname(script), *(entry for entry in sys.path if entry)]
        node = nodes.start()
    process: subprocess.Popen[bytes] | None = None

    def passed_on(number: int, _frame: object) -> None:
        if process is not None:
            process.send_signal(number)

    # ^C is the script's, which the terminal tells as well.
    before = {number: signal.signal(number, passed_on) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(
            [sys.executable, _RUNS_IT, script, *args],
            env={**os.environ, nodes.NODE: node.socket},
            preexec_fn=_to_end_with(os.getpid()),
        )
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        node.stop()
    if status < 0:
        _end_by(-status)
    return status


def _to_end_with(parent: int) -> Callable[[], None] | None:
    """What has a child of this process end with it, where the system can do that (prctl(2))."""
    import ctypes

    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _end_by(number: int) -> NoReturn:
    """End as the script has ended."""
    if number in (signal.SIGKILL, signal.SIGSTOP):
        sys.exit(128 + number)
    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)
