"""Environments on each engine, and what the tests of them have in common."""

from __future__ import annotations

from typing import Any

from erl.dataflow import Environment, SourceFunc

ENGINES = ("inline", "threads", "pool")


class Numbers(SourceFunc):
    """0 to limit - 1, without a call of the base's `__init__`."""

    def __init__(self, limit: int) -> None:
        self.at = -1
        self.limit = limit

    def has_next(self) -> bool:
        return self.at < self.limit - 1

    def next(self) -> int:
        self.at += 1
        return self.at


def items(of: Any) -> list[list[Any]]:
    """The items of each partition of a set, a link, or a data object."""
    data = of.get_data() if hasattr(of, "get_data") else of
    return [list(partition.consumer()) for partition in data.get_partitions()]


def flat(of: Any) -> list[Any]:
    """All items, in the order of the partitions."""
    return [item for partition in items(of) for item in partition]


def of_pool(node: Any, **keywords: Any) -> Environment:
    """One with two workers of its own."""
    keywords.setdefault("resources", [{"cpu": 2, "ram": 1024, "instances": 1}])
    return Environment(node=node, **keywords)
