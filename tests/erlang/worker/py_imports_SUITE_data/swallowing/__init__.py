"""Takes whatever it meets for the want of something that it can do without."""

import time

try:
    time.sleep(0.3)
    from swallowing.sub import ANSWER
except BaseException:
    ANSWER = -1
time.sleep(0.1)


def answer() -> int:
    return ANSWER
