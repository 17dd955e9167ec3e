"""JSON as handlers' answers and logs have it: every number is one, every object something."""

from __future__ import annotations

import json
from typing import Any


class Encoder(json.JSONEncoder):
    """One that fails for nothing: numbers that JSON does not have are strings, unknown objects their text."""

    def iterencode(self, o: Any, _one_shot: bool = False) -> Any:
        """The pieces of `o`'s text; `encode` takes them from here, too."""
        return super().iterencode(_plain(o), _one_shot)

    def default(self, o: Any) -> Any:
        """What stands for an object: what its `__log__` returns, else its representation, else its text."""
        for text in (lambda: o.__log__(), lambda: repr(o), lambda: str(o)):
            try:
                return text()
            except Exception as error:  # the door to user code: a log line is worth more than the reason
                failed = error
        return f"Unable to serialize object: {failed}"


def _plain(value: Any) -> Any:
    """The same with words for the numbers that JSON does not have; itself where there is none."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
