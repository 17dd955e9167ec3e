"""All that a program shows in a terminal of its own up to a shell's first prompt, control sequences too.

python first_screen.py COMMAND ARGUMENT...
"""

from __future__ import annotations

import os
import pty
import re
import select
import sys

_SECONDS = 60.0
_PROMPT = re.compile(rb"\n[^\n]*1> [^\n]*\Z")


def main() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    shown = b""
    while not _PROMPT.search(shown) and select.select([terminal], [], [], _SECONDS)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
    os.close(terminal)
    os.waitpid(child, 0)
    sys.stdout.buffer.write(shown)


if __name__ == "__main__":
    main()
