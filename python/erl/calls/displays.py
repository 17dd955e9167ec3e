"""What a notebook shows of a value: its text, and what IPython's methods give (`_repr_html_` and so on)."""

from __future__ import annotations

import sys

from erl import terms
from erl.terms import Atom
from erl.values.callout import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = (("html", "_repr_html_"), ("svg", "_repr_svg_"), ("png", "_repr_png_"))


def of(value: object) -> terms.Map:
    """A map from `text`, `html`, `svg` and `png`, as far as there are any, to bytes; empty for None.

    A figure of matplotlib is a picture. Where a value's own method fails, it has nothing of that kind.
    """
    if value is None:
        return terms.Map({})
    shown: dict[Any, Any] = {}
    try:
        shown[Atom("text")] = repr(value).encode("utf-8", "backslashreplace")
    except Exception as error:  # of a `__repr__`
        shown[Atom("text")] = f"<repr() failed: {type(error).__name__}: {text_of(error)}>".encode(
            "utf-8", "backslashreplace"
        )
    for kind, name in _KINDS:
        content = _content(value, name)
        if content:
            shown[Atom(kind)] = content
    if Atom("png") not in shown and (picture := _picture(value)):
        shown[Atom("png")] = picture
    return terms.Map(shown)


def _content(value: object, name: str) -> bytes | None:
    """What such a method of its class gives."""
    if not callable(getattr(type(value), name, None)):
        return None
    try:
        made = getattr(value, name)()
    except Exception:  # of the value's own method
        return None
    if isinstance(made, tuple):  # with metadata
        made = made[0] if made else None
    if isinstance(made, str):
        return made.encode("utf-8", "backslashreplace")
    return bytes(made) if isinstance(made, (bytes, bytearray)) else None


def _picture(value: Any) -> bytes | None:
    """A figure, or what stands on one."""
    figures: Any = sys.modules.get("matplotlib.figure")
    if figures is None:
        return None
    figure = value if isinstance(value, figures.Figure) else getattr(value, "figure", None)
    if not isinstance(figure, figures.Figure):
        return None
    import io

    stream = io.BytesIO()
    try:
        figure.savefig(stream, format="png")
    except Exception:  # of an artist's own `draw`, or of a text that is no formula
        return None
    return stream.getvalue()
