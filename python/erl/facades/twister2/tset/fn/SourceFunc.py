"""Where items come from."""

from __future__ import annotations

from erl.dataflow import SourceFunc

__all__ = ["SourceFunc"]
