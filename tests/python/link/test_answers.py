"""What workers answer, opened in the driver: from a sandbox nothing is taken that could be code."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl import codec, errors
from erl.calls import tasks
from erl.link.answers import Answer
from erl.link.protocol import OPTIONS
from erl.terms import Atom
from erl.values import parcels, unpickled
from erl.values.scope import Scope

KEY = b"the node's key, which no box has"


class Link:
    """What an answer asks of a link."""

    def __init__(self) -> None:
        self.scope = Scope()
        self.scope.pickles.set_key(KEY)

    def release(self, name: str) -> None:
        raise AssertionError(name)


LINK: Any = Link()


def boxed(value: object) -> Answer:
    return Answer(LINK, False, codec.encode((Atom("r"), 1, value), OPTIONS))


class Touches:
    """A pickle that makes a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def opaque(path: Path, signed: bool) -> object:
    data = pickle.dumps(Touches(path), 5)
    return (Atom("$erlport.opaque"), Atom("python"), LINK.scope.pickles.signed(data) if signed else data)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("where", ["result", "V", "X", "W", "error"])
def test_no_pickle_of_a_sandbox_is_read(tmp_path: Path, where: str, signed: bool) -> None:
    bad = opaque(tmp_path / "made", signed)
    inner = codec.encode(bad, OPTIONS)
    if where == "result":
        frame: object = (Atom("r"), 1, bad)
    elif where == "error":
        frame = (Atom("e"), 1, (Atom("python"), Atom("builtins.ValueError"), bad, []))
    elif where == "V":
        frame = (Atom("r"), 1, b"V" + inner)
    elif where == "X":
        described = codec.encode([b"builtins.ValueError", b"text", [bad], b""], OPTIONS)
        frame = (Atom("r"), 1, b"X" + described)
    else:
        rows = codec.encode([[bad] * 5], OPTIONS)
        frame = (Atom("r"), 1, b"W" + len(rows).to_bytes(4, "big") + rows + b"V" + codec.encode(1, OPTIONS))
    try:
        is_value, found = Answer(LINK, False, codec.encode(frame, OPTIONS)).open()
    except errors.BridgeError:
        pass
    else:
        assert not is_value
        assert isinstance(found, Exception)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", [b"R", b"E", b"M"])
def test_a_sandbox_answers_with_no_pickle_at_all(tmp_path: Path, kind: bytes) -> None:
    data = kind + pickle.dumps(Touches(tmp_path / "made"), 5)
    for each in (data, LINK.scope.pickles.signed(data)):
        assert not boxed(each).open()[0]
    assert not (tmp_path / "made").exists()


def test_a_trusted_answer_without_the_signature_is_refused(tmp_path: Path) -> None:
    frame = codec.encode((Atom("r"), 1, b"R" + pickle.dumps(Touches(tmp_path / "made"), 5)), OPTIONS)
    is_value, found = Answer(LINK, True, frame).open()
    assert not is_value
    assert isinstance(found, errors.DecodeError)
    assert not (tmp_path / "made").exists()


@given(st.binary(max_size=60), st.booleans())
def test_whatever_is_answered_is_a_value_or_an_error(data: bytes, trusted: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            is_value, found = Answer(LINK, trusted, codec.encode((Atom("r"), 1, data), OPTIONS)).open()
        except errors.BridgeError:
            return
    assert is_value or isinstance(found, BaseException)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_leave_a_sandbox_as_they_are(value: object) -> None:
    is_value, found = boxed(b"V" + codec.encode(unpickled.taken_apart(value), OPTIONS)).open()
    assert is_value
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "term",
    [
        (Atom("a"), [b"u1", [10], 10**9]),
        (Atom("a"), [b"O", [1], b"12345678"]),
        (Atom("a"), [b"u1", [10**12], b"1"]),
        (Atom("n"), b"nothing"),
        (Atom("d"), [[[], 1]]),
        (Atom("?"), 1),
        (Atom("b"), 1),
        2.5,
    ],
)
def test_what_is_no_value_is_an_error(term: object) -> None:
    pytest.importorskip("numpy")
    is_value, found = boxed(b"V" + codec.encode(term, OPTIONS)).open()
    assert not is_value
    assert isinstance(found, errors.DecodeError)


def test_an_error_of_a_sandbox_is_a_builtin_or_described() -> None:
    for name, kind in (
        (b"builtins.KeyError", KeyError),
        (b"os.system", errors.RemoteError),
        (b"builtins.SystemExit", errors.RemoteError),
    ):
        found = boxed(b"X" + codec.encode([name, b"text", [b"text"], b"trace"], OPTIONS)).open()[1]
        assert type(found) is kind
        assert "trace" in str(found.__cause__)


def test_a_warning_of_a_sandbox_names_no_file_here(tmp_path: Path) -> None:
    rows = codec.encode([[b"builtins", b"UserWarning", b"text", str(tmp_path).encode(), b"x"]], OPTIONS)
    data = b"W" + len(rows).to_bytes(4, "big") + rows + b"V" + codec.encode(1, OPTIONS)
    with pytest.warns(UserWarning, match="text") as caught:
        assert boxed(data).open() == (True, 1)
    assert caught[0].filename == "<sandbox>"


def test_a_worker_that_is_not_given_the_key_answers_to_nobody() -> None:
    scope = Scope()
    scope.pickles.set_key(b"another key")
    scope.memory = object()
    payload = LINK.scope.pickles.signed(pickle.dumps((None, parcels.pickled((abs, -1, {})), None, None)))
    answer = scope.context().run(tasks.run, payload)
    assert isinstance(answer, bytes)
    assert not Answer(LINK, True, codec.encode((Atom("r"), 1, answer), OPTIONS)).open()[0]
