"""A module that can't be imported."""

from __future__ import annotations

raise OSError("no such model")
