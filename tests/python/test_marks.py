"""What is mapped after its release counts until its last map goes, whoever has it and however he ends."""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import os
import pickle
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from erl import errors, shared
from erl.terms import Atom
from erl.values import marks, parcels
from erl.values.scope import Place, Scope, current

pytestmark = pytest.mark.usefixtures("key")

LARGE = bytes(range(256)) * 256
MOST_BYTES = 3 * len(LARGE)


@pytest.fixture
def place(tmp_path: Path, scope: Scope) -> Iterator[Place]:
    """A place with marks; none is left there, and no file."""
    for name in ("shm", "maps"):
        (tmp_path / name).mkdir()
    shared.set_place(
        {
            "directory": str(tmp_path / "shm").encode(),
            "marks": str(tmp_path / "maps").encode(),
            "maker": b"0123456789abcdef",
            "max_bytes": MOST_BYTES,
            "node": Atom("here@host"),
        }
    )
    made = current().memory
    assert made is not None
    yield made
    scope.references.take_made()
    gc.collect()
    marks.look(made)
    assert marks.in_use(made) == (0, 0)
    assert os.listdir(made.marks or "") == []


def released(value: bytes = LARGE) -> Any:
    """A value that is mapped, and whose file is gone."""
    held = shared.share(value)
    found = held.value
    os.unlink(held._memory.path)
    shared._unsent.pop(held.name, None)
    return found


def test_what_is_mapped_counts_after_its_release_until_the_last_view_goes(place: Place) -> None:
    whole = released()
    part = whole[100:200]
    del whole
    gc.collect()
    assert marks.in_use(place) == (len(LARGE), len(LARGE))
    kept = array.array("B", part)
    del part
    assert marks.in_use(place) == (0, 0)
    assert len(kept) == 100


def test_a_file_counts_once_however_often_it_is_mapped(place: Place) -> None:
    held = shared.share(LARGE)
    first = held.value
    other = shared.Memory(held._memory.path).map()
    assert len(os.listdir(place.marks or "")) == 2
    assert marks.in_use(place) == (len(LARGE), 0)
    del first, other


def test_a_view_of_numpy_that_outlives_its_array_counts(place: Place) -> None:
    numpy = pytest.importorskip("numpy")
    held = shared.share(numpy.arange(10_000))
    view = held.value[::3].reshape(2, -1)[:, 1:]
    os.unlink(held._memory.path)
    shared._unsent.pop(held.name, None)
    del held
    gc.collect()
    assert marks.in_use(place) == (80_000, 80_000)
    assert view.sum() > 0
    del view
    assert marks.in_use(place) == (0, 0)


def test_more_than_the_limit_is_refused_and_served_when_a_map_goes(place: Place) -> None:
    first, second, third = released(), released(), released()
    message = f"{MOST_BYTES} are in use, {MOST_BYTES} of them still mapped after their release"
    with pytest.raises(errors.SharedMemoryError, match=message):
        shared.share(b"a")
    del second
    assert shared.share(LARGE).value == first == third


def test_a_map_in_a_cycle_counts_until_the_collector_has_found_it(place: Place) -> None:
    cycle: list[Any] = [released()]
    cycle.append(cycle)
    del cycle
    assert marks.in_use(place) == (len(LARGE), len(LARGE))
    gc.collect()
    assert marks.in_use(place) == (0, 0)


class Child:
    """A forked process that holds what this one has, until it is told to end."""

    def __init__(self, is_killed: bool = False) -> None:
        self._here, there = os.pipe()
        until, self._until = os.pipe()
        self.is_killed = is_killed
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._until)
            os.write(there, b".")
            os.read(until, 1)
            os._exit(0)
        os.close(there)
        os.close(until)
        os.read(self._here, 1)

    def end(self) -> None:
        if self.is_killed:
            os.kill(self.pid, signal.SIGKILL)
        else:
            os.write(self._until, b".")
        os.close(self._until)
        os.waitpid(self.pid, 0)
        os.close(self._here)


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_a_forked_child_maps_counts_until_it_ends(place: Place, is_killed: bool) -> None:
    values = [released(), released(), released()]
    child = Child(is_killed)
    values.clear()
    with pytest.raises(errors.SharedMemoryError, match=f"{MOST_BYTES} of them still mapped"):
        shared.share(b"a")
    assert marks.look(place)
    assert marks.in_use(place) == (MOST_BYTES, MOST_BYTES)
    child.end()
    shared.share(b"a")  # who finds no room looks
    assert os.listdir(place.marks or "") == []


def test_a_map_is_noted_for_children_once(place: Place) -> None:
    value = released()
    children = [Child(), Child()]
    assert len(os.listdir(place.marks or "")) == 2
    for child in children:
        child.end()
    marks.look(place)
    assert len(os.listdir(place.marks or "")) == 2  # of the parent, which has it still
    assert marks.in_use(place) == (len(LARGE), len(LARGE))
    assert bytes(value) == LARGE


def test_a_child_deletes_no_mark_of_its_parent_and_leaves_its_own(place: Place) -> None:
    held = shared.share(LARGE)
    value = held.value
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        value = None
        gc.collect()
        found = held.value  # the child's own map
        os.write(writer, b"." if bytes(found) == LARGE else b"!")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"."
    os.close(reader)
    os.close(writer)
    os.unlink(held._memory.path)
    shared._unsent.pop(held.name, None)
    assert marks.in_use(place) == (len(LARGE), len(LARGE))
    del value
    marks.look(place)
    assert marks.in_use(place) == (0, 0)


def test_a_parcel_that_is_mapped_counts(place: Place) -> None:
    content = array.array("B", bytes(MOST_BYTES))
    place.most_bytes = 1 << 30
    large = pickle.PickleBuffer(bytearray(parcels._MAPPED_BYTES))
    head, written, digest = parcels.packed([large, content], shared.share_parts)
    held, sizes = written
    value: Any = parcels.unpacked(head, held._memory.path, sizes, digest, place)
    os.unlink(held._memory.path)
    shared._unsent.pop(held.name, None)
    _, released_bytes = marks.in_use(place)
    assert released_bytes >= parcels._MAPPED_BYTES
    assert len(value) == 2
    del value
    gc.collect()
    assert marks.in_use(place) == (0, 0)


class StrayError(Exception):
    """What a handler raises."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_that_raises_at_any_moment_leaves_no_mark(place: Place) -> None:
    def handler(_signal: int, _frame: object) -> None:
        raise StrayError

    before = signal.signal(signal.SIGALRM, handler)
    held = shared.share(LARGE)
    torn = 0
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0002))
                for _ in range(20):
                    bytes(held.value)
            except StrayError:
                torn += 1
            finally:
                with contextlib.suppress(StrayError):
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        with contextlib.suppress(StrayError):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert torn > 20
    gc.collect()
    marks.tidy()
    assert os.listdir(place.marks or "") == []
    assert marks._marks == {}


def test_threads_that_map_the_same_file_leave_no_mark(place: Place) -> None:
    held = shared.share(LARGE)
    wrong: list[bytes] = []

    def maps() -> None:
        for _ in range(200):
            if bytes(held.value) != LARGE:
                wrong.append(b"")

    threads = [threading.Thread(target=maps) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert os.listdir(place.marks or "") == []


def test_where_the_directories_have_gone_a_map_goes_in_silence(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    value = released()
    directory = place.marks
    assert directory is not None
    os.rename(directory, f"{directory}-away")
    del value
    gc.collect()
    assert capfd.readouterr().err == ""
    os.rename(f"{directory}-away", directory)
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
    assert marks._marks == {}


def test_a_mark_that_can_not_be_made_is_an_error_and_maps_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    held = shared.share(LARGE)
    with monkeypatch.context() as patched:
        patched.setattr(os, "symlink", fail)
        with pytest.raises(errors.SharedMemoryError, match="No space left on device"):
            held.value  # noqa: B018
    gc.collect()
    assert marks._marks == {}
    assert held.value == LARGE
