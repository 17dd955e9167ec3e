"""What a tagged tuple holds beside its tag, as a builder gets it; and what a builder says that makes nothing of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


class _NotFit:
    """The type of `NOT_FIT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_FIT"


NOT_FIT: Final = _NotFit()


def text(payload: object) -> str | None:
    """The text in a payload: a list of code points, a binary; None for anything else."""
    if type(payload) is str:
        return payload
    if type(payload) is list:
        return text_of_code_points(payload)
    if type(payload) is bytes:
        try:
            return payload.decode()
        except UnicodeDecodeError:
            return None
    return None


def text_of_code_points(points: list[Any]) -> str | None:
    """The `str` that a list of code points was; None for a list of anything else."""
    if not {int}.issuperset(map(type, points)):
        return None
    try:
        return "".join(map(chr, points))
    except (ValueError, OverflowError):
        return None
