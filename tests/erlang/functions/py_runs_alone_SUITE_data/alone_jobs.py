"""What runs do that have a Python of their own, and what they leave for the next one."""

import builtins
import os
import sys
import threading


def variable(name):
    return os.environ.get(name)


def pid():
    return os.getpid()


def tells(name):
    print("it is", os.environ[name])
    return len(os.environ[name])


def raises_with(name):
    secret = os.environ[name]
    raise ValueError(f"refused: {secret}")


def grows():
    return len([bytes(1 << 20) for _ in range(600)])


def processors():
    return len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"]


def spoils():
    builtins.print = None
    builtins.len = None
    os.chdir("/")
    sys.stdout.close()
    sys.stdout = None
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    return os.getpid()


def directory():
    return os.getcwd()


def prints(text):
    print(text)
    return os.getpid()


stop = threading.Event()


def leaves_a_thread():
    def talk():
        while not stop.wait(0.01):
            print("still here")

    threading.Thread(target=talk, daemon=True).start()
    return os.getpid()


def ends_the_thread():
    print("alone")
    stop.wait(0.1)
    stop.set()
    return os.getpid()
