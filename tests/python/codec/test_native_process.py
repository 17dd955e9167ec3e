"""What the compiled codec does to its process: memory stays flat, garbage is collected again afterwards, threads have
stack enough, and it loads without what it rarely needs."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest
from resident import needs_proc, resident_bytes

from erl import decoders, encoders, errors
from erl.codec import Options
from erl.codec.options import MAX_DEPTH
from erl.terms import Atom, ImproperList
from erl.values.scope import Scope

native: Any = pytest.importorskip("erl.codec.native", reason="the codec is not compiled here")

DEFAULT = Options.from_flags(0)
MAPS = Options.from_flags(3)

MIXED: list[tuple[Any, Options]] = [
    ((Atom("r"), 17, [1, "two", 3.0]), DEFAULT),
    ({"a": 1, "b": [2.5, None, True], (1, "c"): {"d": b"e"}}, DEFAULT),
    ({"a": 1, "b": [2.5, None, True], "ключ": {"d": "é"}}, MAPS),
    ([2**70, -(2**70), 2**63, -1, 256, float("nan")], DEFAULT),
    ([ImproperList([1], 2), {3, 4}, frozenset("ab"), 1j, bytearray(b"f")], DEFAULT),
    (list(range(400)), DEFAULT),
    (["x" * 600, "ж" * 300, Atom("é" * 200)], DEFAULT),
]
REFUSED: list[tuple[Any, Options]] = [
    (["x" * 600, {"k": "\ud800"}], MAPS),
    ({1: [], "1": [], "a": 1, b"a": 2}, MAPS),
    ([1, (2, {"k": Atom("a")}, lambda: None, [object])], DEFAULT),
]
ROUNDS = 1_000_000
SPARE_BYTES = 1 << 20


def is_flat(work: Any, rounds: int) -> None:
    """After a warm-up, `rounds` of the work leave neither objects nor pages behind."""
    for _ in range(rounds // 20):
        work()
    gc.collect()
    blocks, resident = sys.getallocatedblocks(), resident_bytes()
    for _ in range(rounds):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100
    assert resident_bytes() - resident < SPARE_BYTES


@needs_proc
def test_million_rounds_of_a_small_term_leave_nothing_behind() -> None:
    value, options = MIXED[0]

    def work() -> None:
        native.decode(native.encode(value, options), options)

    is_flat(work, ROUNDS)


@needs_proc
@pytest.mark.parametrize(("value", "options"), MIXED)
def test_rounds_of_mixed_terms_leave_nothing_behind(value: Any, options: Options) -> None:
    buffer = bytearray()

    def work() -> None:
        native.decode(native.encode(value, options), options)
        native.encode_into(buffer, value, options)
        buffer.clear()

    is_flat(work, ROUNDS // 50)


@needs_proc
@pytest.mark.parametrize(("value", "options"), MIXED)
def test_refused_terms_leave_nothing_behind(value: Any, options: Options) -> None:
    """Every cut of a term, and every term with one byte changed."""
    term = native.encode(value, options)[:400]
    broken = [term[:size] for size in range(1, len(term))]
    broken += [
        term[:at] + bytes((byte,)) + term[at + 1 :]
        for at in range(1, len(term))
        for byte in (0, 104, 108, 255)
    ]

    def work() -> None:
        for data in broken:
            with contextlib.suppress(errors.DecodeError):
                native.decode(data, options)

    work()
    is_flat(work, 40)


UNFIT = [
    b"t\0\0\0\2a\1a\2w\4truea\3",  # keys that are equal
    b"t\0\0\0\1t\0\0\0\0a\1",  # a key without a hash
    b"h\2k\0\4dictl\0\0\0\2h\2a\1a\2h\2w\4truea\3j",
    b"h\2k\0\4dictl\0\0\0\2h\2a\1a\2k\0\1xa\1",
    b"h\2k\0\3setl\0\0\0\2k\0\1xt\0\0\0\0j",
    b"h\2k\0\3setl\0\0\0\2a\1w\4truej",
    b"h\2k\0\x04datem\0\0\0\1\xff",
    b"l\0\0\0\1a\1h\2k\0\3dictj",
    b"l\0\0\0\1a\1k\0\2ab",
    b"h\3w\x0e$erlport.opaqu\x65w\6pythonm\0\0\0\1x",
    b"h\4w\7$py.refa\1a\2a\3",
    b"c1.5" + bytes(28),
    b"n\x09\1" + b"\xff" * 9,
]


@needs_proc
@pytest.mark.parametrize("term", UNFIT)
def test_terms_that_fit_badly_leave_nothing_behind(term: bytes) -> None:
    def work() -> None:
        for data in (b"\x83" + term, b"\x83h\2" + term + term, b"\x83" + term[:-1]):
            with contextlib.suppress(errors.DecodeError):
                native.decode(data, DEFAULT)

    is_flat(work, 4000)


@needs_proc
@pytest.mark.parametrize(("value", "options"), REFUSED)
def test_refused_values_leave_nothing_behind(value: Any, options: Options) -> None:
    def work() -> None:
        with contextlib.suppress(errors.EncodeError):
            native.encode(value, options)

    is_flat(work, ROUNDS // 100)


KEEPS = """
import gc, resource, sys
from erl.codec import native, Options
OPTIONS = Options.from_flags(0)
TERM = native.encode(list(range(10**9, 10**9 + 100_000)), OPTIONS)

def faults():
    for _ in range(5):
        native.encode(native.decode(TERM, OPTIONS), OPTIONS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        native.encode(native.decode(TERM, OPTIONS), OPTIONS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()

plain = faults()
native.keep_free()
native.keep_free()
kept = faults()
before = resident()
large = [list(range(10**9, 10**9 + 100_000)) for _ in range(30)]
full = resident() - before
del large
gc.collect()
native.trim()
print(plain, kept, full, resident() - before)
"""


@needs_proc
def test_little_of_what_is_freed_is_kept_and_that_needs_no_new_pages() -> None:
    """A process that keeps some has few faults where it had many, and no more memory when it has given that back."""
    done = subprocess.run(
        [sys.executable, "-c", KEEPS], check=True, capture_output=True, text=True, timeout=120
    )
    plain, kept, full, left = map(int, done.stdout.split())
    assert plain < 1000 or kept < plain // 4
    assert full > 60 << 20
    assert left < 16 << 20


@needs_proc
def test_atoms_and_keys_without_end_do_not_fill_the_memory() -> None:
    numbers = iter(range(10**9))

    def work() -> None:
        number = next(numbers)
        native.decode(native.encode([Atom(f"atom {number}"), {f"key {number}": 1}], MAPS), MAPS)

    for _ in range(20_000):  # the tables of atoms are emptied when they are full, here and in Python
        work()
    blocks = sys.getallocatedblocks()
    for _ in range(200_000):
        work()
    assert sys.getallocatedblocks() - blocks < 40_000


def test_claims_of_many_levels_take_no_more_room_than_the_frame_has_bytes() -> None:
    """Tuples, each of which claims as many elements as there are bytes: one of them could be true, not all."""
    size = 100_000
    head = b"i" + size.to_bytes(4, "big")
    frame = b"\x83" + head * 900 + bytes(size)
    with pytest.raises(errors.DecodeError, match="truncated"):
        native.decode(frame, DEFAULT)
    if sys.platform == "linux":
        child = (
            "import resource, sys; from erl.codec import Options, native\n"
            "resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))\n"
            f"for tag in b'iltl':\n"
            f"    head = bytes((tag,)) + ({size}).to_bytes(4, 'big')\n"
            f"    try: native.decode(b'\\x83' + head * 900 + bytes({size}), Options.from_flags(0))\n"
            "    except ValueError as refusal: print(refusal)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", child], capture_output=True, text=True, timeout=60, check=True
        )
        assert set(done.stdout.splitlines()) == {"truncated: the term ends beyond the frame"}


@pytest.fixture
def collecting(registered: None) -> list[bool]:
    """Whether garbage was being collected when the decoder of "when" ran."""
    seen: list[bool] = []
    decoders.register("when", lambda payload: seen.append(gc.isenabled()))
    return seen


def frame_of(padding: int, payload: bytes = b"j") -> bytes:
    return (
        b"\x83l\0\0\0\2"
        + b"h\2k\0\4when"
        + payload
        + b"m"
        + padding.to_bytes(4, "big")
        + b"x" * padding
        + b"j"
    )


def test_collection_of_garbage_pauses_while_a_large_term_is_read(collecting: list[bool]) -> None:
    for padding in (0, 100_000):
        native.decode(frame_of(padding), DEFAULT)
        assert gc.isenabled()
    assert collecting == [True, False]


def test_collection_of_garbage_goes_on_after_a_refusal(collecting: list[bool]) -> None:
    for frame in (frame_of(100_000, b"\xff"), frame_of(100_000)[:-1]):
        with pytest.raises(errors.DecodeError):
            native.decode(frame, DEFAULT)
        assert gc.isenabled()


def test_collection_of_garbage_that_was_off_stays_off(collecting: list[bool]) -> None:
    gc.disable()
    try:
        native.decode(frame_of(100_000), DEFAULT)
        assert not gc.isenabled()
    finally:
        gc.enable()


class Box:
    def __init__(self, content: object) -> None:
        self.content = content


@pytest.mark.parametrize(
    ("nest", "levels"),
    [
        (lambda inner: [inner], 1),
        (lambda inner: (inner,), 1),
        (lambda inner: {1: inner}, 1),
        (lambda inner: ImproperList([1], (inner,)), 2),
        (lambda inner: OrderedDict(k=inner), 3),
        (lambda inner: Box([inner]), 2),
    ],
    ids=["list", "tuple", "map", "improper list", "form", "encoder"],
)
def test_thread_with_a_mebibyte_of_stack_reads_and_writes_the_deepest_terms(
    nest: Any, levels: int, scope: Scope
) -> None:
    encoders.register(Box, lambda box: box.content)
    value: Any = 1
    for _ in range(MAX_DEPTH // levels):
        value = nest(value)
    got: list[Any] = []

    def work() -> None:
        got.append(native.encode(value, MAPS))
        got.append(native.decode(got[0], MAPS))

    before = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=scope.context().run, args=(work,))
        thread.start()
        thread.join(30)
    finally:
        threading.stack_size(before)
    assert len(got) == 2


def test_threads_share_the_tables_of_atoms_and_keys(scope: Scope) -> None:
    decoders.register("yield", lambda payload: sum(payload))
    terms_ = [
        native.encode([{f"key {number}": Atom(f"atom {number}")}, ("yield", [1, number])], MAPS)
        for number in range(500)
    ]
    wrong: list[Any] = []

    def work(offset: int) -> None:
        for _ in range(20):
            for number, term in enumerate(terms_[offset:], offset):
                value = native.decode(term, MAPS)[0]
                if value != {f"key {number}": f"atom {number}"}:
                    wrong.append(value)

    threads = [threading.Thread(target=scope.context().run, args=(work, offset)) for offset in (0, 1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_loading_it_loads_neither_the_reference_nor_erlang_py() -> None:
    child = "import sys, erl.codec; print(erl.codec.implementation, *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, timeout=60, check=True
    )
    implementation, *loaded = done.stdout.split()
    assert implementation == "native"
    assert {"erl.codec.reference", "erl.codec.writer", "erl.codec.leaves", "erlang", "zlib"}.isdisjoint(
        loaded
    )


def test_package_without_it_uses_the_reference() -> None:
    child = "import sys; sys.modules['erl.codec.native'] = None; import erl.codec; print(erl.codec.implementation)"
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "reference"
