"""Which files of shared memory this process maps, noted where everybody counts.

A file that was deleted takes memory as long as anything maps it. So whoever is about to map one makes a mark, an empty
link ``FILE.MAKER-N`` in a directory beside the files', and deletes it with the map. What is in use is what the names of
files and of marks say. Marks of what several processes may map, ``FILE.MAKER-N-PID``, are deleted by whoever has looked
who maps the file: see "Shared memory" in docs/architecture.md.
"""

from __future__ import annotations

import os
from _weakref import ref  # `weakref` costs more

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from erl.values.scope import Place

_MOST_DIGITS: Final = 18
_TO_NOTHING: Final = "-"
"""What a mark is a link to: no file, so none is kept by it."""
_FEW: Final = 64


class Hold:
    """Held by a map: its mark goes with it."""

    __slots__ = ("__weakref__",)


class _Mark(ref[Hold]):
    """A mark, and what deletes it with its hold."""

    __slots__ = ("is_of_several", "path")

    path: str
    is_of_several: bool
    """Whether a forked process may map the file, too, which has another mark for it."""


_marks: dict[str, _Mark] = {}
"""The marks of this process, by their paths."""
_looked_at: list[int] = [_FEW]
"""With how many of them it is looked again whether each of them is still for something."""


def _tried(change: Callable[..., None], *paths: str) -> None:
    try:  # noqa: SIM105 (`contextlib` costs a worker's start too much)
        change(*paths)
    except OSError:
        pass  # somebody else was first, or the application has ended, and its directories have gone


def _delete(mark: _Mark) -> None:
    _tried(os.unlink, mark.path)
    _marks.pop(mark.path, None)


def mark(place: Place, name: str) -> Hold | None:
    """Note that a file is about to be mapped, for as long as there is what this gives. Raises `OSError`.

    Whatever a handler raises, and when: what is to be deleted with the hold is known before it is made.
    """
    if place.marks is None:
        return None
    if len(_marks) >= _looked_at[0]:
        tidy()
    hold = Hold()
    made = _Mark(hold, _delete)
    made.path = path = place.new_mark(name)
    made.is_of_several = False
    _marks[path] = made
    os.symlink(_TO_NOTHING, path)
    return hold


def tidy() -> None:
    """Delete the marks whose map is gone, where a handler has kept that from being done."""
    for made in list(_marks.values()):
        if made() is None:
            _delete(made)
    _looked_at[0] = max(_FEW, 2 * len(_marks))


def _share() -> None:
    for made in list(_marks.values()):
        if not made.is_of_several:
            made.is_of_several = True
            _tried(os.symlink, _TO_NOTHING, f"{made.path}-{os.getpid()}")


def _forked() -> None:
    _share()  # what another thread has mapped since the parent did so
    _marks.clear()


os.register_at_fork(before=_share, after_in_child=_forked)


def in_use(place: Place) -> tuple[int, int]:
    """How many bytes are in use, and how many of them are mapped after their release."""
    files = os.listdir(place.directory)
    used = sum(map(bytes_of, files))
    if place.marks is None:
        return used, 0
    # After the files: of what is freed meanwhile there is a mark.
    marked = {name.partition(".")[0] for name in os.listdir(place.marks)}
    released = sum(map(bytes_of, marked.difference(files))) if marked else 0
    return used + released, released


def bytes_of(name: str) -> int:
    """How many bytes a file's name says it has; 0 for what is none of ours."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS else 0


def look(place: Place) -> bool:
    """Delete the marks that nobody else deletes and whose file no process maps; whether there were any."""
    tidy()
    if place.marks is None:
        return False
    left = [name for name in os.listdir(place.marks) if name.partition(".")[2].count("-") > 1]
    if not left:
        return False
    mapped = _mapped()
    for name in left:
        if name.partition(".")[0].encode() not in mapped:
            _tried(os.unlink, f"{place.marks}/{name}")
    return True


def _mapped() -> set[bytes]:
    """The names of the files that processes of this user map; those of other files are among them."""
    found: set[bytes] = set()
    for pid in _processes():
        try:
            with open(f"/proc/{pid}/maps", "rb") as maps:
                found.update(
                    line.rpartition(b"/")[2].removesuffix(b"\n").removesuffix(b" (deleted)")
                    for line in maps
                    if b"/" in line
                )
        except OSError:
            pass  # it has ended, or is somebody else's
    return found


def _processes() -> Iterable[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return ()
