"""The Python half of py: Python for the Erlang ecosystem.

Inside a worker, `erl.call("lists", "sum", [[1, 2, 3]])` calls Erlang; `erl.Atom` is an atom; `erl.encoders` and
`erl.decoders` take the mappings of your own types. In a Python program `erl.start()` starts a node with pools of
workers, and `erl.connect()` joins one. Everything is imported when it is first used.
"""

from __future__ import annotations

from erl.names.facades import append as _append_finder

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any

    from erl import decoders, encoders, errors, haystack, shared
    from erl.api import acall, call, cast, make_ref, modules, node, self, set_message_handler, whereis
    from erl.decoders import set_decoder
    from erl.encoders import set_encoder
    from erl.errors import CallCancelled, ErlangError
    from erl.link import Node, connect, here, start
    from erl.shared import Shared, share
    from erl.terms import Atom, BitString, Fun, ImproperList, Pid, Reference
    from erl.terms import Port as PortId

    logger: Logger

__all__ = [
    "Atom",
    "BitString",
    "CallCancelled",
    "ErlangError",
    "Fun",
    "ImproperList",
    "Node",
    "Pid",
    "PortId",
    "Reference",
    "Shared",
    "acall",
    "call",
    "cast",
    "connect",
    "decoders",
    "encoders",
    "errors",
    "haystack",
    "here",
    "logger",
    "make_ref",
    "modules",
    "node",
    "self",
    "set_decoder",
    "set_encoder",
    "set_message_handler",
    "share",
    "shared",
    "start",
    "whereis",
]

_HOMES = {
    **dict.fromkeys(("acall", "call", "cast", "make_ref", "modules", "node", "self", "whereis"), "erl.api"),
    "set_message_handler": "erl.api",
    **dict.fromkeys(("CallCancelled", "ErlangError"), "erl.errors"),
    **dict.fromkeys(("Atom", "BitString", "Fun", "ImproperList", "Pid", "Reference"), "erl.terms"),
    **dict.fromkeys(("Node", "connect", "here", "start"), "erl.link"),
    **dict.fromkeys(("Shared", "share"), "erl.shared"),
    "set_decoder": "erl.decoders",
    "set_encoder": "erl.encoders",
}
_MODULES = (
    "compute",
    "dataflow",
    "decoders",
    "encoders",
    "errors",
    "executors",
    "functions",
    "futures",
    "haystack",
    "link",
    "shared",
)

_append_finder()


def __getattr__(name: str) -> Any:
    import sys

    if name in _HOMES:
        __import__(_HOMES[name])
        value = getattr(sys.modules[_HOMES[name]], name)
    elif name == "PortId":
        from erl.terms import Port as value
    elif name == "logger":
        from erl.runtime import logs

        value = logs.logger()
    elif name in _MODULES:
        __import__(f"erl.{name}")
        value = sys.modules[f"erl.{name}"]
    else:
        raise AttributeError(f"module 'erl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
