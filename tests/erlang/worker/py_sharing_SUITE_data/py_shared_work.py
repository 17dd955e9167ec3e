"""What the calls of a pool do that a test sees from outside."""

import os
import time


def note(path, number):
    """Note that this call has begun; a line is written as a whole."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, b"%d\n" % number)
    finally:
        os.close(fd)
    return number


def noted(path, number, seconds):
    note(path, number)
    time.sleep(seconds)
    return number


def begin_until(begun, path):
    """Tells that it has begun, and runs until the other file is there."""
    with open(begun, "w"):
        pass
    return until(path)


def ask_until(begun, path):
    """Has an answer of Erlang's, tells that it has begun, and runs until the other file is there."""
    import erl

    erl.call("erlang", "abs", [-1])
    return begin_until(begun, path)


def until(path):
    """Run until that file is there."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return os.getpid()


def pid(seconds):
    time.sleep(seconds)
    return os.getpid()
