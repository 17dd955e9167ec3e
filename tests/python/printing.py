"""User code that prints, for the tests of the port program."""

from __future__ import annotations


def print_for_ever() -> None:
    while True:
        print("x" * 100_000)
