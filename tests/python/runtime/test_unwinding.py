"""What an exception passes on its way from user code to the server's door."""

from __future__ import annotations

import dis
import sys

import pytest

from erl.runtime.server import Server

# An integer up to this one is there already (CPython's `_PY_NSMALLPOSINTS`).
MOST_SMALL = 256


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before Python 3.11 there is no table of exceptions")
def test_a_memory_error_passes_the_code_that_enters_user_code_without_memory() -> None:
    """CPython makes an integer of where it is, to go on with a `finally`, and tries again for ever where it can't."""
    table = dis._parse_exception_table(Server._entered.__code__)  # type: ignore[attr-defined]
    ends = [entry.end // 2 for entry in table if entry.lasti]
    assert ends
    assert max(ends) <= MOST_SMALL
