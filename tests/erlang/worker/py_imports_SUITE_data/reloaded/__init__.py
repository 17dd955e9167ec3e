import time

ANSWER = 0
time.sleep(0.3)
ANSWER = 42


def answer() -> int:
    return ANSWER
