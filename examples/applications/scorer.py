"""A model that scores customers: weights in a file, which somebody trains elsewhere. It knows no Elixir."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_model: dict[str, float] = {}


def load(path: str) -> None:
    """What each worker calls when it starts."""
    _model.update(json.loads(Path(path).read_text()))


def score(customer: dict[str, Any]) -> float | None:
    """How likely a customer comes again; None where nothing is known. Raises KeyError for a feature that is missing."""
    if customer["visits"] is None:
        return None
    total = sum(weight * customer[name] for name, weight in _model.items() if name != "bias")
    return 1 / (1 + math.exp(-total - _model["bias"]))
