"""What CPython's own printing of a traceback adds to a name that is missing: the nearest one that is there.

CPython keeps it out of the exception's text (https://docs.python.org/3/whatsnew/3.10.html), so it is found here, by its
rules: no more than 750 names of no more than 40 characters, and a third of the letters different. No code of the user's
is run for it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

_MOST_NAMES: Final = 750
_MOST_CHARACTERS: Final = 40
_MOST_CLASSES: Final = 50
_MODULE: Final = type(sys)
_GETSET: Final = type(type.__dict__["__dict__"])


def of(error: BaseException) -> str:
    """`Did you mean: 'sqrt'?` with a space in front, or nothing."""
    kind = type(error)
    if kind is AttributeError:
        wanted: Any = error.name  # type: ignore[attr-defined]
        names = _attributes(error.obj) if type(wanted) is str else ()  # type: ignore[attr-defined]
    elif kind is NameError or kind is UnboundLocalError:
        wanted = error.name  # type: ignore[attr-defined]
        names = _visible(error) if type(wanted) is str else ()
    elif kind is ImportError:
        wanted = getattr(error, "name_from", None)  # 3.12
        names = _of_module(error.name) if type(wanted) is str else ()  # type: ignore[attr-defined]
    else:
        return ""
    found = nearest(wanted, names) if names else None
    return "" if found is None else f" Did you mean: {found!r}?"


def nearest(wanted: str, names: Iterable[str]) -> str | None:
    """The name that differs least, where one differs little."""
    best: str | None = None
    least = float(_MOST_CHARACTERS)
    if not 0 < len(wanted) <= _MOST_CHARACTERS:
        return None
    for count, name in enumerate(names):
        if count >= _MOST_NAMES:
            return None
        if type(name) is not str or name == wanted or (name[:1] == "_" and wanted[:1] != "_"):
            continue
        most = (len(name) + len(wanted) + 3) / 6
        if len(name) <= _MOST_CHARACTERS and abs(len(name) - len(wanted)) <= most:
            distance = _distance(wanted, name)
            if distance <= most and distance < least:
                best, least = name, distance
    return best


def _distance(first: str, second: str) -> float:
    """Letters to be added, taken away or changed; another case is half of one."""
    row: list[float] = [float(place) for place in range(len(second) + 1)]
    for above, letter in enumerate(first):
        corner, row[0] = row[0], above + 1.0
        for place, other in enumerate(second):
            changed = corner + (0.0 if letter == other else 0.5 if letter.lower() == other.lower() else 1.0)
            corner = row[place + 1]
            row[place + 1] = min(changed, corner + 1, row[place] + 1)
    return row[-1]


def _attributes(obj: object) -> list[str]:
    """The names in a module, a class, or an object and its classes: what `dir` says where nobody has changed it."""
    if type(obj) is _MODULE:
        return list(obj.__dict__)
    names: dict[str, None] = {}
    holder: Any = None
    kind = obj if issubclass(type(obj), type) else type(obj)
    for each in type.__dict__["__mro__"].__get__(kind)[:_MOST_CLASSES]:
        members = type.__dict__["__dict__"].__get__(each)
        names.update(dict.fromkeys(members))
        holder = holder or members.get("__dict__")
    # The object's own, where that is Python's own to give.
    own = holder.__get__(obj) if type(holder) is _GETSET and kind is not obj else ()
    return [*own, *names]


def _of_module(name: Any) -> list[str]:
    module = sys.modules.get(name) if type(name) is str else None
    return list(module.__dict__) if type(module) is _MODULE else []


def _visible(error: BaseException) -> list[str]:
    """The names where the exception was raised: local ones, those of the module, builtins."""
    traceback = error.__traceback__
    if traceback is None:
        return []
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    return [*frame.f_locals, *frame.f_globals, *frame.f_builtins]
