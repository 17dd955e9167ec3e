"""What the tests in Elixir call."""

from __future__ import annotations

from collections.abc import Iterator

closed: list[int] = []


def cups(most: int) -> Iterator[dict[str, int]]:
    """Cups by their number, closed by whoever stops."""
    try:
        for number in range(most):
            yield {"cup": number}
    finally:
        closed.append(most)
