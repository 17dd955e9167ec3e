"""Calls Erlang while it is imported, which calls Python."""

import erl

ANSWER = str(erl.call("py_imports_SUITE", "back", []))


def answer() -> str:
    return ANSWER
