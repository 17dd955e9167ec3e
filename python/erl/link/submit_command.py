"""`python -m erl submit`: a script with a link to a node, in this very process.

    submit [--connect [PATH]] [standalone] python FILE [NAME] ARGS...
    submit [--connect [PATH]] [standalone] python_zip ZIP ENTRY ARGS...

The script's `erl.here()`, and whatever names no node, is that node: one that is started for it, or the one of
`--connect`. The process becomes the script (execve(2)), so its streams, signals and exit status are a plain Python's.
What has to be done after it, a process of its own does: `erl.link.keeper`.
"""

from __future__ import annotations

import os
import signal
import sys
import zipfile

from erl import errors
from erl.link import keeper, nodes

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final, NoReturn

_USAGE: Final = """\
usage: python -m erl submit [--connect [PATH]] [standalone] python FILE [NAME] ARGS...
       python -m erl submit [--connect [PATH]] [standalone] python_zip ZIP ENTRY ARGS...

Run a Python script with a link to a node: one of its own, or with --connect the one that listens at PATH (default:
this user's). Standard streams and the exit status are the script's. NAME, the script's name once more, may be left out.
"""
_KINDS: Final = ("python", "python_zip")
_RUNS_IT: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "submitted.py")


def run(arguments: list[str]) -> int:
    """Become the script that the arguments name; the exit status where that can't be done."""
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
    try:
        if rest[0] == "python":
            script, args, archive = _absolute(rest[1]), rest[2:], None
            if args[:1] == [os.path.basename(script)]:
                del args[0]
            if not os.path.isfile(script):
                raise errors.NodeError(f"there is no file {script}")
        else:
            script, args, archive = rest[2], rest[3:], rest[1]
            _check_entry(archive, script)
        if is_joined:
            socket = _reached(socket)
        path = ""
        if archive is not None or socket is None:
            socket, script, path = keeper.kept(script, archive, socket)
        _become(script, args, {nodes.NODE: socket, nodes.NODE_PATH: path})
    except errors.NodeError as error:
        print(f"erl submit: {error}", file=sys.stderr)
        return 1


def _absolute(script: str) -> str:
    try:
        return os.path.abspath(script)
    except OSError as error:
        raise errors.NodeError(f"{script} can't be found, as the working directory is gone") from error


def _check_entry(archive: str, entry: str) -> None:
    """Raises `errors.NodeError` where the archive does not have that script."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = {os.path.normpath(name) for name in opened.namelist() if not name.endswith("/")}
    except (OSError, zipfile.BadZipFile) as error:
        raise errors.NodeError(f"{archive}: {error}") from None
    if os.path.normpath(entry) not in names or os.path.normpath(entry).startswith(("..", "/")):
        raise errors.NodeError(f"{entry} is not in {archive}")


def _reached(path: str | None) -> str:
    """The socket of a node that answers. Raises `errors.NodeError`."""
    with nodes.connect(path) as node:
        return node.socket


def _become(script: str, args: list[str], told: dict[str, str]) -> NoReturn:
    """Run the script in place of this program, with the interpreter's own flags."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    keeper.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):  # those that Python ignores: an ignored signal stays so
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    program = [sys.executable, *_args_from_interpreter_flags(), _RUNS_IT, script, *args]
    try:
        os.execve(sys.executable, program, {**os.environ, **told})
    except OSError as error:
        raise errors.NodeError(f"the interpreter {sys.executable!r} can't be run: {error.strerror}") from None
