"""The worker's side of common tasks, in C: signatures are hashlib's, tasks and results what `pickle` makes of them."""

from __future__ import annotations

import hashlib
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erl import codec, errors
from erl.futures import functions
from erl.values.opaque import Pickles

pytestmark = pytest.mark.skipif(codec.signed is None, reason="the codec is not compiled here")

KNOWN: dict[Any, Any] = {each: functions.named(each, False) for each in (abs, math.hypot)}
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.binary(max_size=300),
)


def pickles(key: bytes | None, policy: str = "signed") -> Pickles:
    made = Pickles()
    made.set_key(key)
    made.set_policy(policy)
    return made


@pytest.mark.parametrize("size", [*range(260), 383, 384, 385, 2047, 2048, 2049, 5000])
def test_a_signature_is_that_of_hashlib(size: int) -> None:
    data = bytes(number * 7 % 251 for number in range(size))
    for key in (b"k", bytes(range(32)), bytes(range(64))):
        own = pickles(key)
        made = codec.signed(own, data)  # type: ignore[misc]
        assert made == data + hashlib.blake2b(data, digest_size=32, key=key).digest()
        assert codec.verify(own, made) is None  # type: ignore[misc]
        later = pickles(b"a later one")
        later.set_key(b"a later one", [key])
        assert codec.verify(later, made) is None  # type: ignore[misc]


def test_what_is_not_signed_with_the_key_is_refused() -> None:
    own, other = pickles(b"own"), pickles(b"other")
    made = codec.signed(own, b"tea")  # type: ignore[misc]
    for position in range(len(made)):
        changed = bytearray(made)
        changed[position] ^= 1
        with pytest.raises(errors.DecodeError):
            codec.verify(own, bytes(changed))  # type: ignore[misc]
    for sealed, of in ((made, other), (made, pickles(None)), (b"", own), (b"short", own)):
        with pytest.raises(errors.DecodeError):
            codec.verify(of, sealed)  # type: ignore[misc]
    assert codec.signed(pickles(None), b"tea") == b"tea"  # type: ignore[misc]
    assert codec.verify(pickles(None, "any"), b"tea") is None  # type: ignore[misc]
    assert codec.verify(own, made) is None  # type: ignore[misc]


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other) and list(map(type, one)) == list(map(type, other))


@given(st.sampled_from([abs, math.hypot]), st.lists(PLAIN, max_size=5), st.binary(max_size=40))
def test_a_task_is_taken_apart_as_pickle_does(function: Any, args: list[Any], behind: bytes) -> None:
    made = codec.plain_call(KNOWN, function, tuple(args))  # type: ignore[misc]
    found = codec.plain_task(made + behind)  # type: ignore[misc,operator]
    assert found is not None
    assert found[0] is function
    assert same(found[1], args)


@settings(max_examples=200, deadline=None)
@given(st.lists(PLAIN, max_size=3), st.data())
def test_bytes_that_are_changed_are_what_pickle_says_or_nothing(args: list[Any], data: Any) -> None:
    made = bytearray(codec.plain_call(KNOWN, abs, tuple(args)))  # type: ignore[misc,arg-type]
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    made = made[: data.draw(st.integers(0, len(made)))] if data.draw(st.booleans()) else made
    found = codec.plain_task(bytes(made))  # type: ignore[misc]
    if found is not None:
        function, head, memory, path = pickle.loads(bytes(made))
        assert (function, memory, path) == (None, None, None)
        called, *expected, keywords = pickle.loads(head)
        assert found[0] is called
        assert keywords == {}
        assert same(found[1], expected)


def test_a_function_that_is_not_there_is_left_to_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    made = codec.plain_call(KNOWN, math.hypot, (3, 4))  # type: ignore[misc]
    assert codec.plain_task(made) == (math.hypot, [3, 4])  # type: ignore[misc,arg-type]
    monkeypatch.delattr(math, "hypot")
    assert codec.plain_task(made) is None  # type: ignore[misc,arg-type]
    assert codec.plain_task(pickle.dumps((None, b"", None, None), 5)) is None  # type: ignore[misc]


@given(PLAIN)
def test_a_plain_result_is_its_pickle(value: Any) -> None:
    made = codec.plain_result(value)  # type: ignore[misc]
    assert made is not None
    assert made[:1] == b"R"
    assert same([pickle.loads(made[1:])], [value])


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, "x" * 1001, "\ud800", [1], (1,), {}, 1j, abs])
def test_other_results_are_left_to_pickle(value: Any) -> None:
    assert codec.plain_result(value) is None  # type: ignore[misc]
