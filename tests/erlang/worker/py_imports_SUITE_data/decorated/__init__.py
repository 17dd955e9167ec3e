"""Classes and decorators are at work while it is imported."""

import time


def slow(what: type) -> type:
    time.sleep(0.2)
    what.ANSWER = 42  # type: ignore[attr-defined]
    return what


@slow
class Thing:
    time.sleep(0.2)


def answer() -> int:
    return Thing.ANSWER  # type: ignore[attr-defined, no-any-return]
