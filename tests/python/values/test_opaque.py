"""Pickles: signed, verified before they are read, and by value where a name would not be found."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest

from erl import errors
from erl.codec import Options, decode, encode
from erl.names import traces
from erl.values import opaque
from erl.values.scope import current

DEFAULT = Options.from_flags(0)


class Trap:
    """Its pickle does something when it is read."""

    sprung = False

    def __reduce__(self) -> Any:
        return spring, ()


def spring() -> str:
    Trap.sprung = True
    return "sprung"


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("value", [range(3), int, len, slice(1), {1: {2}}, None])
def test_signed_pickle_comes_back(value: Any) -> None:
    assert current().pickles.loads(current().pickles.dumps(value)) == value


@pytest.mark.usefixtures("key")
def test_signature_follows_the_pickle_and_other_readers_pass_over_it() -> None:
    data = current().pickles.dumps(range(3))
    assert data[-opaque.SIGNATURE_BYTES - 1 : -opaque.SIGNATURE_BYTES] == b"."
    assert pickle.loads(data) == range(3)


def test_changed_pickle_is_refused_before_it_is_read(key: bytes) -> None:
    data = current().pickles.dumps(Trap())
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(errors.DecodeError, match="no worker of this application signed it"):
            current().pickles.loads(bytes(changed))
    assert not Trap.sprung
    assert current().pickles.loads(data) == "sprung"


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    "data", [b"", b"N.", b"x" * 31, b"x" * 32, pickle.dumps(1), pickle.dumps(1) + bytes(32)]
)
def test_unsigned_pickle_is_refused(data: bytes) -> None:
    with pytest.raises(errors.DecodeError, match="pickle => any"):
        current().pickles.loads(data)


def test_pickle_signed_with_another_key_is_refused(key: bytes) -> None:
    data = current().pickles.dumps(1)
    current().pickles.set_key(b"another")
    with pytest.raises(errors.DecodeError):
        current().pickles.loads(data)


def test_what_former_keys_have_signed_is_read_and_signed_with_the_new_one(key: bytes) -> None:
    pickles = current().pickles
    old, large = pickles.dumps([1]), pickles.dumps(bytes(5_000))
    pickles.set_key(b"new", [b"another", key])
    for data in (old, large):
        pickles.verify(data)
    assert pickles.loads(old) == [1]
    new = pickles.dumps([1])
    assert new != old
    pickles.set_key(b"new")
    assert pickles.loads(new) == [1]
    for data in (old, large):
        with pytest.raises(errors.DecodeError):
            pickles.loads(data)


def test_without_a_key_nothing_is_signed_and_nothing_read() -> None:
    data = current().pickles.dumps(1)
    assert data == pickle.dumps(1, 5)
    with pytest.raises(errors.DecodeError, match="no key"):
        current().pickles.loads(data)


def test_policy_any_reads_signed_and_unsigned_pickles(key: bytes) -> None:
    signed = current().pickles.dumps(1)
    current().pickles.set_policy("any")
    assert current().pickles.loads(signed) == current().pickles.loads(pickle.dumps(1)) == 1


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="policy"):
        current().pickles.set_policy("none")


@pytest.mark.parametrize("key", [b"", b"x" * 65])
def test_key_of_a_wrong_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        current().pickles.set_key(key)
    with pytest.raises(ValueError, match="bytes"):
        current().pickles.set_key(b"new", [key])


@pytest.mark.parametrize(
    "junk", [b"", b"N", b"junk", b"\x80\x05\x95\xff", b"c__main__\nnothing\n.", b"I999\n", b"(t0."]
)
def test_junk_that_may_be_read_is_a_decode_error(junk: bytes) -> None:
    with pytest.raises(errors.DecodeError, match="reading an opaque Python object failed"):
        current().pickles.loads(junk, unsigned=True)


class Linked:
    """As the elements of a parsed page are."""

    def __init__(self, other: object) -> None:
        self.other = other


@pytest.mark.parametrize("is_named", [True, False])
def test_what_is_linked_too_deep_can_not_be_pickled(is_named: bool) -> None:
    value: object = 1 if is_named else (lambda: 1)
    for _ in range(100_000):
        value = Linked(value)
    with pytest.raises(errors.NotPicklableError, match=r"Linked.*RecursionError"):
        current().pickles.dumps(value)
    while isinstance(value, Linked):
        value = value.other


class LikesErlang:
    """Raises an error of the bridge's when it is unpickled."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return raise_, (self.error,)


def raise_(error: Exception) -> Any:
    raise error


@pytest.mark.usefixtures("key")
def test_pickle_that_raises_another_bridge_error_is_a_decode_error() -> None:
    for error in (errors.EncodeError("x"), errors.ErlangError("error", "badarg"), MemoryError()):
        with pytest.raises(errors.DecodeError):
            current().pickles.loads(current().pickles.dumps(LikesErlang(error)))


def test_what_can_not_be_pickled_says_so() -> None:
    with pytest.raises(errors.NotPicklableError, match="lock can't be pickled"):
        current().pickles.dumps(threading.Lock())
    with pytest.raises(errors.NotPicklableError):
        current().pickles.dumps([threading.Lock()])


@pytest.mark.usefixtures("key")
def test_function_without_a_name_travels_by_value() -> None:
    pytest.importorskip("cloudpickle")
    offset = 10

    def local(number: int) -> int:
        return number + offset

    class Local:
        field = 7

    for function in (lambda number: number + 10, local):
        assert decode(encode([function], DEFAULT), DEFAULT)[0](5) == 15
    assert current().pickles.loads(current().pickles.dumps(Local())).field == 7  # type: ignore[attr-defined]


@pytest.mark.usefixtures("key")
def test_function_that_travels_by_value_keeps_the_file_of_its_lines() -> None:
    pytest.importorskip("cloudpickle")

    class Local:
        def method(self, number: int) -> float:
            return (lambda: 1 / number)()

    for value in (lambda number: 1 / number, Local().method):
        copy = current().pickles.loads(current().pickles.dumps(value))
        with pytest.raises(ZeroDivisionError) as failure:
            copy(0)  # type: ignore[operator]
        trace: Any = traces.trace_of(failure.value)
        assert (trace[0][0], trace[0][3]) in [
            (__file__, "for value in (lambda number: 1 / number, Local().method):"),
            (__file__, "return (lambda: 1 / number)()"),
        ]


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("type_", [type(None), type(...), type(NotImplemented), type(len), type(lambda: 1)])
def test_type_that_is_in_no_module_travels(type_: type) -> None:
    if type_.__name__ in ("function", "builtin_function_or_method"):
        pytest.importorskip("cloudpickle")
    assert current().pickles.loads(current().pickles.dumps(type_)) is type_


def test_open_file_is_not_replaced_by_its_content() -> None:
    """cloudpickle would."""
    with open(__file__) as file, pytest.raises(errors.NotPicklableError):
        current().pickles.dumps([file])


PROGRAM = """
import sys
from erl.values.scope import current
class Here:
    def answer(self): return 42
def function(): return 43
sys.stdout.write(current().pickles.dumps([Here(), Here, function]).hex())
"""


def test_class_and_function_of_main_travel_by_value() -> None:
    """Written by an interpreter whose `__main__` has them, read by one whose `__main__` does not."""
    pytest.importorskip("cloudpickle")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    here, type_, function = current().pickles.loads(bytes.fromhex(done.stdout), unsigned=True)  # type: ignore[misc]
    assert (here.answer(), type_().answer(), function()) == (42, 42, 43)


def test_without_cloudpickle_what_has_no_name_is_not_picklable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(errors.NotPicklableError, match="function"):
        current().pickles.dumps(lambda: 1)


def test_pickle_modules_are_not_imported_before_they_are_needed() -> None:
    program = (
        "import sys, erl.codec as c; o = c.Options.from_flags(0); c.decode(c.encode([1, 'a', {}], o), o)\n"
        "rare = 'pickle cloudpickle hashlib hmac datetime decimal uuid zoneinfo fractions numpy typing inspect'\n"
        "print([name for name in rare.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
