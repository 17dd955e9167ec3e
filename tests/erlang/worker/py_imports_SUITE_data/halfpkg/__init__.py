import time

import halfpkg.sub

time.sleep(0.4)


def answer() -> int:
    return halfpkg.sub.ANSWER
