"""Calls Erlang while it is imported."""

import erl

erl.call("timer", "sleep", [400])
ANSWER = 42


def answer() -> int:
    return ANSWER
