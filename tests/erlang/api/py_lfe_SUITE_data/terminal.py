"""A program in a terminal of its own, for a test: a frame in is a line to type, a frame out is all that was shown.

    python terminal.py PROMPT COMMAND ARGUMENT...

Frames are bytes behind a length of four bytes. The first frame out is what the program showed before its first
prompt; each line typed is answered with what was shown until the next prompt. PROMPT is a regular expression.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios

_SECONDS = 20.0
# Control sequences, and what a terminal does with a line's end.
# The shell since OTP 26 goes back to a line that was entered, and shows it anew.
_REDRAWN = re.compile(rb"[^\n]*\n\x1b\[A\r?\x1b\[J")
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|\r|\x07|\x00")


def read_frame() -> bytes | None:
    head = sys.stdin.buffer.read(4)
    return sys.stdin.buffer.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def write_frame(data: bytes) -> None:
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()


def plain_text(shown: bytes) -> bytes:
    return _CONTROL.sub(b"", _REDRAWN.sub(b"", shown))


def shown_until(prompt: re.Pattern[bytes], terminal: int) -> bytes:
    """What is shown up to a prompt at the end, or up to the program's end, or what there is after 20 seconds."""
    shown = b""
    while select.select([terminal], [], [], _SECONDS)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
        if not data:
            break
        shown += data
        plain = plain_text(shown)
        found = prompt.search(plain)
        # Nothing more comes at once: it waits for input.
        if found and not select.select([terminal], [], [], 0.05)[0]:
            return plain[: found.start()]
    return plain_text(shown) + b"\n(no prompt)"


def main() -> None:
    prompt = re.compile(sys.argv[1].encode() + rb"\Z")
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(sys.argv[2], sys.argv[2:])
    # Wide, so that no line is wrapped by the terminal.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 2000, 0, 0))
    write_frame(shown_until(prompt, terminal))
    while (line := read_frame()) is not None:
        os.write(terminal, line + b"\n")
        write_frame(shown_until(prompt, terminal))
    os.close(terminal)


if __name__ == "__main__":
    main()
