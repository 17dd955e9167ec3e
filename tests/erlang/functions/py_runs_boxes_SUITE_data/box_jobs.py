"""What runs do in boxes. Each attempt has a name of its own: process numbers are the same in all boxes."""

import logging
import os
import sys
import time


def value(size):
    return "x" * size


def talks():
    print("printed")
    print("to standard error", file=sys.stderr)
    logging.getLogger("tea").warning("logged")


def raises(name):
    print("it is", os.environ[name])
    raise ValueError("refused: " + os.environ[name])


def exits():
    os.write(2, b"last words\n")
    os._exit(3)


class OwnError(Exception):
    pass


def raises_own():
    raise OwnError("mine")


def traced(name, seconds):
    own = os.urandom(4).hex()
    end = time.monotonic() + seconds
    with open(f"/io/{name}", "ab", buffering=0) as file:
        file.write(f"{own} begin\n".encode())
        while time.monotonic() < end:
            time.sleep(0.004)
            file.write(f"{own} tick\n".encode())
    return 7
