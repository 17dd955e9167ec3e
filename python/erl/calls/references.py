"""Objects that stay here for Erlang, as the worker process and the modules beside this one ask for them."""

from __future__ import annotations

from erl.values.scope import current


def hold(value: object) -> tuple[object, ...]:
    """Keep a value; the term that stands for it. Raises `errors.NotPicklableError` where no worker process owns it."""
    return current().references.hold(value)


def release(numbers: list[int]) -> None:
    """Forget the objects with these ids; ids that are not held are passed over."""
    current().references.release(numbers)


def held() -> int:
    """How many objects are held."""
    return current().references.held()
