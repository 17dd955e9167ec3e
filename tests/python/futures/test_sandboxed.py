"""Tasks in a sandboxed pool: values, arrays and texts come out, and no code."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl import errors
from erl.futures import PoolExecutor, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def boxed() -> Iterator[PoolExecutor]:
    if shutil.which("bwrap") is None or shutil.which("erl") is None:
        pytest.skip("bubblewrap or Erlang is not on PATH")
    with erl.start({"boxed": {"size": 1, "sandbox": "bwrap"}}, name="boxed") as node:
        executor = node.executor(pool="boxed")
        try:
            executor.submit(abs, -1).result(60)
        except errors.BridgeError as error:
            pytest.skip(f"no sandbox can be made here: {error}")
        yield executor


class OwnError(Exception):
    pass


def fails() -> None:
    raise OwnError("no")


def fails_unknown() -> None:
    error = type("UnknownError", (Exception,), {})
    raise error("none")


def test_values_come_out(boxed: PoolExecutor) -> None:
    value = {"text": "é", "bytes": b"\xff", "numbers": (1, 2.5, 1j), "none": None, "list": [True, {1, 2}]}
    assert boxed.submit(lambda it: it, value).result(60) == value


def test_what_is_no_value_stays_in(boxed: PoolExecutor) -> None:
    with pytest.raises(errors.NotPicklableError, match="can't leave a sandbox"):
        boxed.submit(lambda: object()).result(60)


def test_errors_are_known_classes_or_described(boxed: PoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        boxed.submit(divmod, 1, 0).result(60)
    assert caught.value.__cause__ is not None
    with pytest.raises(OwnError, match="no"):
        boxed.submit(fails).result(60)
    with pytest.raises(RemoteError, match="none"):
        boxed.submit(fails_unknown).result(60)


def test_it_is_a_sandbox(boxed: PoolExecutor) -> None:
    assert boxed.submit(os.path.exists, "/home").result(60) is False


def test_warnings_and_prints_come_out_too(boxed: PoolExecutor, capsys: Any) -> None:
    def says() -> int:
        import warnings

        print("from inside")
        warnings.warn("careful", UserWarning, stacklevel=1)
        return 1

    with pytest.warns(UserWarning, match="careful"):
        assert boxed.submit(says).result(60) == 1
    assert "from inside" in capsys.readouterr().out
