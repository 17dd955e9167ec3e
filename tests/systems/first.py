"""From nothing to numpy's answer, as somebody types it: `make test-first`, which makes the systems and calls this.

    python first.py SYSTEM LANGUAGE LOG COMMAND ARGUMENT...

COMMAND is a shell in a fresh system that has git, make and certificates, and the repository in /root/origin. What is
typed is the least that leads to the answer; a line is entered when its prompt is there. The URL counts as one key,
since it is pasted. Prints one row of a table: system, language, lines, keys, seconds to the language's prompt and to
the answer, and the answer.
"""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time

_URL = "/root/origin"
_SHELL_PROMPT = r"\$ "
# How long a system may take to fetch and build what it misses, and a call to answer.
_SECONDS_TO_SET_UP = 3600.0
_SECONDS_TO_ANSWER = 300.0
_ANSWER = r"^(?:np\.float64\()?-2\.0000000000000004\)?\s*$"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|\r|\x07|\x00")

# The target of make, its prompt, and what is entered there.
LANGUAGES = {
    "Erlang": ("shell", r"\d+> ", ["py:func('numpy.linalg', det, [[[1, 2], [3, 4]]])."]),
    "LFE": ("repl", r"lfe> ", ["(py:func 'numpy.linalg 'det '(((1 2) (3 4))))"]),
    "Elixir": ("iex", r"iex\(\d+\)> ", ['Py.call("numpy.linalg", :det, [[[1, 2], [3, 4]]])']),
    "Python": (
        "python",
        r">>> ",
        ["import numpy.linalg", "executor.submit(numpy.linalg.det, [[1, 2], [3, 4]]).result()"],
    ),
}


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command: list[str], log: str) -> None:
        self._log = open(log, "wb")  # noqa: SIM115 (closed with the program)
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.execvp(command[0], command)

    def enter(self, line: str) -> None:
        os.write(self._terminal, line.encode() + b"\n")

    def until(self, pattern: str, seconds: float) -> str:
        """What is shown up to a text, or the end of all if it does not come."""
        sought, deadline, shown = re.compile(pattern, re.MULTILINE), time.monotonic() + seconds, b""
        while select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # the program has ended
                break
            self._log.write(data)
            self._log.flush()
            shown += data
            plain = _CONTROL.sub("", shown.decode(errors="replace"))
            if found := sought.search(plain):
                return found.group().strip()
        sys.exit(f"{pattern!r} was not shown; the last that was: {shown[-2000:].decode(errors='replace')}")

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._child, 0)
        self._log.close()


def main() -> None:
    system, language, log, *command = sys.argv[1:]
    target, prompt, lines = LANGUAGES[language]
    first = f"git clone {_URL} py && cd py && make {target}"
    keys = len(first) - len(_URL) + 2 + sum(len(line) + 1 for line in lines)
    terminal = Terminal(command, log)
    terminal.until(rf"{_SHELL_PROMPT}\Z", _SECONDS_TO_ANSWER)
    begun = time.monotonic()
    terminal.enter(first)
    # Back at the shell's own prompt it has failed.
    shown = terminal.until(rf"^(?:{prompt}|{_SHELL_PROMPT})\Z", _SECONDS_TO_SET_UP)
    if shown == "$":
        sys.exit(f"{first} ended without a prompt")
    ready = time.monotonic()
    for line in lines[:-1]:
        terminal.enter(line)
        terminal.until(rf"^{prompt}\Z", _SECONDS_TO_ANSWER)
    terminal.enter(lines[-1])
    answer = terminal.until(_ANSWER, _SECONDS_TO_ANSWER)
    answered = time.monotonic()
    terminal.close()
    seconds = f"{ready - begun:.0f} | {answered - begun:.0f}"
    print(f"| {system} | {language} | {len(lines) + 1} | {keys} | {seconds} | `{answer}` |")


if __name__ == "__main__":
    main()
