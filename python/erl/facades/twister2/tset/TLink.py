"""What lies between a set and the next one."""

from __future__ import annotations

from erl.dataflow import TLink

__all__ = ["TLink"]
