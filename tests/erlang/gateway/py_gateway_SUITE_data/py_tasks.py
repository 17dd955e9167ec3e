"""What drivers have workers do."""

import logging
import os
import sys
import time

from erl import shared


def megabyte():
    return b"x" * 1_000_000


def noted(path, seconds):
    """Say in a file that it runs, and take so long."""
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)


def talk(lines, line):
    for _ in range(lines):
        print(line)
    return lines


def log(text):
    logging.getLogger("tea").warning(text)
    return text


def shout(count):
    for number in range(count):
        logging.getLogger("tea").warning("%d", number)
    return count


def pid():
    return os.getpid()


def large():
    """Bytes in shared memory."""
    return shared.share(b"y" * 100_000)


def size_of(value):
    return len(value)


def leave():
    sys.stdout.flush()
    os._exit(7)
