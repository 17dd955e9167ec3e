"""Things to call, each in its own way."""

from __future__ import annotations

constant = 42


def größe() -> str:
    """A name beyond ASCII."""
    return "groß"


def with_a_dash(*args: object, **keywords: object) -> list[object]:
    """What it was called with, the keywords as sorted pairs."""
    return [list(args), sorted(keywords.items())]


def type_name(value: object) -> str:
    return type(value).__name__


class Outer:
    class Inner:
        depth = 2

        @staticmethod
        def deepest() -> str:
            return "found"

    def __init__(self, value: object = None, *, unit: str = "m") -> None:
        self.value = value
        self.unit = unit

    def scaled_by(self, factor: int, *, offset: int = 0) -> int:
        return self.value * factor + offset  # type: ignore[operator]

    def __call__(self, *args: object) -> list[object]:
        return [self.value, *args]


def outer_fault() -> None:
    inner_fault()


def inner_fault() -> None:
    raise ValueError("it is faulty")


def chained_fault() -> None:
    try:
        inner_fault()
    except ValueError as cause:
        raise KeyError("chained") from cause


def two_lines() -> None:
    raise RuntimeError("first\nsecond ключ")
