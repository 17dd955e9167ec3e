"""Which attempt of a durable run this code is part of."""

from __future__ import annotations

from _contextvars import ContextVar

attempt: ContextVar[tuple[str, int] | None] = ContextVar("erl.attempt", default=None)
"""The directory of the run's files, empty where it has none (in a sandbox), and the number of the attempt."""
