"""What runs do in the tests. Each begin, and each sign of life, is a line of a file: who, and in which order."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

TICK = 0.004


def _note(path, what):
    with open(path, "ab", buffering=0) as file:
        file.write(f"{os.getpid()} {what}\n".encode())


def traced(path, seconds, value):
    """Take so long, and say so all the time."""
    _note(path, "begin")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(TICK)
        _note(path, "tick")
    _note(path, "end")
    return value * 2


def fails_first(path, times, value):
    """Raise so many times, in all attempts together."""
    _note(path, "begin")
    with open(path) as file:
        begun = sum(line.endswith("begin\n") for line in file)
    if begun <= times:
        raise RuntimeError(f"attempt {begun}")
    return value


def stubborn(path, seconds):
    """Swallow whatever ends it, for so long."""
    _note(path, "begin")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                time.sleep(TICK)
                _note(path, "tick")
        except BaseException:
            pass
    return "done"


def leaves_a_child(path):
    """Fork a child that says that it lives, and fail."""
    _note(path, "begin")
    if os.fork() == 0:
        for _ in range(2000):
            time.sleep(TICK)
            _note(path, "tick")
        os._exit(0)
    raise RuntimeError("left a child")


def dies(how):
    print("about to die", file=sys.stderr, flush=True)
    os.write(2, b"last words\n")
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV if how == "segv" else signal.SIGKILL)
    time.sleep(10)


def talks(name):
    print("printed", name)
    print("to standard error", file=sys.stderr)
    logging.getLogger("tea").warning("logged %s", name)
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    return name


def pid():
    return os.getpid()


def echo(value):
    return value


async def coroutine(value):
    return value


def generated(count):
    yield from range(count)


def unpicklable():
    return threading.Lock()


def printed_by_a_child():
    return subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout


def says(number):
    for _ in range(20):
        print("said by", number)
        time.sleep(TICK)


def forks_and_returns():
    own = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return own if child else "the child"
