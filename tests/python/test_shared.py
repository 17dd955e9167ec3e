"""Shared memory, Python's side: what becomes a file and what does not, whose it is, and what a made up term gets."""

from __future__ import annotations

import array
import errno
import gc
import mmap
import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from both_codecs import CODECS
from hypothesis import given
from hypothesis import strategies as st

from erl import errors, shared
from erl.codec import Options
from erl.terms import Atom
from erl.values import steps
from erl.values.references import named
from erl.values.scope import Scope, current

pytestmark = pytest.mark.usefixtures("key")

SHARED = Options.from_flags(1024)
DEFAULT = Options.from_flags(0)
NODE = Atom("here@host")
LARGE = bytes(range(256)) * 256
MOST_BYTES = 1_000_000

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: str(codec.implementation))


@pytest.fixture
def place(tmp_path: Path, scope: Scope) -> Iterator[Path]:
    """A directory of shared memory; nothing is left in it."""
    shared.set_place(
        {
            "directory": str(tmp_path).encode(),
            "maker": b"0123456789abcdef",
            "max_bytes": MOST_BYTES,
            "node": NODE,
        }
    )
    yield tmp_path
    for name in scope.references.take_made():
        assert isinstance(name, bytes)
        (tmp_path / name.decode()).unlink(missing_ok=True)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


@each_codec
def test_what_is_large_is_a_file_and_comes_back_from_there(place: Path, codec: Any) -> None:
    for value in (LARGE, bytearray(LARGE), memoryview(LARGE), array.array("d", LARGE)):
        term = codec.encode([value, (value,)], SHARED)
        assert len(term) < 300
        first, (second,) = codec.decode(term, DEFAULT)
        assert first == second == LARGE
        assert type(first) is memoryview
        assert first.readonly


@each_codec
def test_what_is_small_goes_as_it_always_does(place: Path, codec: Any) -> None:
    small = LARGE[:-1]
    for value in (small, bytearray(small)):
        assert codec.decode(codec.encode(value, SHARED), Options.from_flags(4)) == value
    codec.encode([memoryview(b"a").tobytes(), array.array("b", b"a")], SHARED)
    assert files(place) == []


@each_codec
@pytest.mark.parametrize("flags", [0, 1, 4, 32, 512])
def test_without_the_option_nothing_is_a_file(place: Path, codec: Any, flags: int) -> None:
    codec.encode([LARGE, bytearray(LARGE)], Options.from_flags(flags))
    assert files(place) == []


@each_codec
def test_without_a_place_large_things_go_by_value(codec: Any) -> None:
    assert not shared.is_open()
    for value in (LARGE, bytearray(LARGE)):
        assert codec.decode(codec.encode(value, SHARED), Options.from_flags(4)) == value
    with pytest.raises(errors.SharedMemoryError, match="no shared memory here"):
        shared.share(LARGE)


def test_a_file_is_deleted_with_the_object_until_it_was_sent(place: Path) -> None:
    held = shared.share(b"abc")
    assert held.value == b"abc"
    assert files(place) == ["0123456789abcdef-" + held._memory.name.split("-")[1] + "-3"]
    view = held.value
    del held
    assert len(files(place)) == 1
    del view
    assert files(place) == []
    sent = shared.share(b"abc")
    sent.term()
    assert current().references.take_made() == [sent._memory.name.encode()]
    path = place / sent._memory.name
    del sent
    assert path.exists()
    path.unlink()


def test_a_frame_that_could_not_be_encoded_leaves_nothing(place: Path) -> None:
    for codec in CODECS:
        given_before = current().references.count_made()
        with pytest.raises(errors.EncodeError):
            codec.encode([LARGE, Unpicklable()], SHARED)
        current().references.release_since(given_before)
        assert files(place) == []


class Unpicklable:
    def __reduce__(self) -> str:
        raise ValueError("no")


def test_who_nests_is_owed_what_stands_behind_that_of_who_waits(place: Path) -> None:
    references = current().references
    outer, inner = shared.share(LARGE), shared.share(LARGE)
    outer.term()
    since = references.count_made()
    inner.term()
    owed, taken = references.owed(since)
    assert named(owed) == [inner._memory.name.encode()]
    assert references.owed(since)[0] == owed  # until it is taken
    steps.at_once(taken)
    assert references.owed(since)[0] == []
    assert named(references.owed()[0]) == [outer._memory.name.encode()]
    name = owed.pop().name
    del inner
    assert name in files(place)  # it is Erlang's
    (place / name).unlink()


class StrayError(Exception):
    """What a handler raises."""


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what it raises in a finalizer
def test_a_handler_that_raises_at_any_moment_leaves_no_file_and_no_descriptor(place: Path) -> None:
    def handler(_signal: int, _frame: object) -> None:
        raise StrayError

    def made_or_torn() -> bool:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0003))
            shared.share(LARGE)
            return True
        except StrayError:
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, handler)
    open_before = len(os.listdir("/proc/self/fd"))
    torn = 0
    end = time.monotonic() + 10
    try:
        while torn < 2000 and time.monotonic() < end:
            try:
                torn += not made_or_torn()
            except StrayError:  # where it is about to be stopped
                torn += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert files(place) == []
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert torn > 20
    shared.share(LARGE)
    assert len(shared._unsent) <= 1  # nor is anything noted for ever


def test_a_forked_child_deletes_nothing(place: Path) -> None:
    held = shared.share(b"abc")
    child = os.fork()
    if child == 0:
        del held
        os._exit(0)
    os.waitpid(child, 0)
    assert held.value == b"abc"


def test_what_erlang_has_freed_is_stale(place: Path) -> None:
    held = shared.share(b"abc")
    kept = held.value
    term = held.term()
    current().references.take_made()
    (place / held._memory.name).unlink()
    with pytest.raises(errors.StaleReferenceError):
        held.term()
    with pytest.raises(errors.StaleReferenceError):
        shared.decode(term[1])
    assert kept == b"abc"
    copy = shared.term_of(kept)
    assert copy is not None
    assert shared.decode(copy[1]) == b"abc"


def test_a_shared_object_is_not_pickled(place: Path) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(shared.share(b"abc"))


@pytest.mark.parametrize("value", ["text", 12, [1], object(), memoryview(b"abcdef")[::2]], ids=repr)
def test_what_has_no_bytes_is_not_shared(place: Path, value: object) -> None:
    with pytest.raises(TypeError, match="can be shared"):
        shared.share(value)


def test_more_than_the_limit_is_refused_and_leaves_nothing(place: Path) -> None:
    held = shared.share(bytes(MOST_BYTES - 10))
    for _ in range(2):
        with pytest.raises(errors.SharedMemoryError, match="max_shared_bytes is 1000000, 999990 are in use"):
            shared.share(bytes(11))
    assert len(files(place)) == 1
    assert shared.share(bytes(10)).value == bytes(10)
    del held
    shared.share(bytes(MOST_BYTES))


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "FileIO", "listdir"])
def test_a_full_file_system_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shared if call == "FileIO" else os, call, fail)
        content = b"" if call == "posix_fallocate" else b"abc"  # what is written gets its pages then
        with pytest.raises(errors.SharedMemoryError, match="No space left on device"):
            shared.share(content)
    assert files(place) == []


def test_an_interruption_while_it_is_written_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise errors.CallCancelled

    descriptors = len(os.listdir("/proc/self/fd"))
    for call in ("pwrite", "listdir"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(errors.CallCancelled):
                shared.share(b"abc")
        assert files(place) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_write_in_parts_is_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at: pwrite(fd, content[:1000], at))
    assert shared.share(LARGE).value == LARGE


_PARTS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from([2**31, 2**63, 2**64, NODE, Atom("bytes"), "abc", b"abc", "../../etc/passwd", 0.5])
)
_PAYLOADS = st.recursive(
    _PARTS, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.lists(inner, max_size=2)
)


@given(node=_PARTS, name=_PARTS, extent=_PAYLOADS, form=_PAYLOADS, whole=_PAYLOADS, is_known=st.booleans())
def test_any_payload_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, **parts: Any) -> None:
    before = current().memory
    place = tmp_path_factory.mktemp("place")
    try:
        shared.set_place({"directory": str(place), "maker": "0" * 16, "max_bytes": 100, "node": NODE})
        held = shared.share(b"abcd")
        name = held._memory.name if parts["is_known"] else parts["name"]
        for payload in ((parts["node"], name, parts["extent"], parts["form"]), parts["whole"]):
            try:
                found = shared.decode(payload)
            except (errors.DecodeError, errors.StaleReferenceError):
                continue
            assert bytes(found) in b"abcd"
    finally:
        current().memory = before


def test_a_term_of_another_node_is_elsewhere(place: Path) -> None:
    payload = (Atom("there@host"), "0" * 16 + "-1-3", (0, 3), Atom("bytes"))
    with pytest.raises(errors.ElsewhereError, match="there@host"):
        shared.decode(payload)
    with pytest.raises(errors.StaleReferenceError):
        shared.decode((NODE, *payload[1:]))
    shared.set_place(None)
    with pytest.raises(errors.NoSharedMemoryError, match="no part"):
        shared.decode((NODE, *payload[1:]))


# Arrays


@each_codec
def test_an_array_is_a_file_and_its_views_are_the_same_file(place: Path, codec: Any) -> None:
    np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
    whole = np.arange(20_000, dtype="<f8").reshape(200, 100)
    there = codec.decode(codec.encode(whole, SHARED), DEFAULT)
    assert (there == whole).all()
    assert not there.flags.writeable
    copied: list[Callable[[Any], Any]] = [
        lambda a: a[:, :90],
        lambda a: a[::2],
        lambda a: a.T[:99],
        np.asfortranarray,
    ]
    same: list[Callable[[Any], Any]] = [
        lambda a: a,
        lambda a: a[100:],
        lambda a: a.reshape(-1),
        lambda a: a[20:].view("<i8"),
    ]
    for view in same + copied:
        count = len(files(place))
        back = codec.decode(codec.encode(view(there), SHARED), DEFAULT)
        assert (back == view(whole)).all()
        assert back.dtype == view(whole).dtype
        assert len(files(place)) == count + (view in copied)


def test_zeros_are_written_through_every_map(place: Path) -> None:
    np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
    made = shared.zeros((2, 3), "<i2")
    first, second = made.value, shared.decode(made.term()[1])
    first[1, 1] = 5
    assert second[1, 1] == 5
    assert shared.zeros(4).value.tolist() == [0.0] * 4
    assert shared.zeros((0, 2)).value.shape == (0, 2)
    assert shared.zeros(()).value.shape == ()
    for wrong in ("O", "V0", [("a", "O")]):
        with pytest.raises(TypeError, match="can't be shared"):
            shared.zeros(2, np.dtype(wrong))


def test_a_shared_array_is_read_only_and_its_source_is_not(place: Path) -> None:
    np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
    source = np.arange(6).reshape(2, 3)
    for value in (source, source.T, source[:, ::2]):
        made = shared.share(value)
        source[0, 0] += 1
        with pytest.raises(ValueError, match="read-only"):
            made.value[0, 0] = 1
    assert isinstance(made.value.base, mmap.mmap | memoryview)


def test_what_would_lose_its_mask_or_its_order_is_not_shared(place: Path) -> None:
    np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
    with pytest.raises(TypeError, match="masks"):
        shared.share(np.ma.masked_array(np.arange(8, dtype="u1"), mask=True))
    with pytest.raises(TypeError, match="in one piece"):
        shared.share(memoryview(LARGE)[::2])
    assert files(place) == []


def test_a_link_or_a_pipe_in_the_directory_is_no_file_of_it(place: Path, tmp_path_factory: Any) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_bytes(LARGE)
    name = "0123456789abcdef-77-65536"
    path = place / name
    for make in (path.symlink_to, lambda _: os.mkfifo(path)):
        make(secret)
        with pytest.raises(errors.DecodeError, match="can't be mapped"):
            shared.decode((NODE, name.encode(), (0, 1), Atom("bytes")))
        path.unlink()


@each_codec
def test_what_can_not_be_shared_goes_as_it_always_does(place: Path, codec: Any) -> None:
    np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
    objects = np.full(20_000, None)
    assert b"$erlport.opaque" in codec.encode(objects, SHARED)
    assert b"ndarray" in codec.encode(np.zeros(3), SHARED)
    assert files(place) == []


@each_codec
def test_an_arrow_buffer_is_shared(place: Path, codec: Any) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed here")
    assert codec.decode(codec.encode(pa.py_buffer(LARGE), SHARED), DEFAULT) == LARGE
