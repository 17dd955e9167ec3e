"""What belongs to one conversation with Erlang.

A process has one, that of its port program; a context (`contextvars`) may enter another one.
"""

from __future__ import annotations

import os
from _contextvars import Context, ContextVar  # `contextvars` is a file more
from itertools import count

from erl.values.mappings import Decoders, Encoders
from erl.values.opaque import Pickles
from erl.values.references import References

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from typing import Any, Protocol

    class Mapping(Protocol):
        """How values are mapped where a call brings no options of its own."""

        @property
        def tagged(self) -> bool:
            """Whether tagged forms are on; else the mapping is ErlPort's."""

    class Bridge(Protocol):
        """The way to Erlang, as the functions of `erl.api` need it."""

        handler: Callable[[Any], object]
        flush: Callable[[], None]
        """Writes the answers that are ready; in a call that may hold them up."""

        @property
        def worker(self) -> object:
            """The pid of the worker process that owns this interpreter; None where there is none."""

        @property
        def options(self) -> Mapping:
            """The mapping of what brings none of its own."""

        def call_erlang(
            self, module: str, function: str, args: list[Any], context: str, timeout: float | None = None
        ) -> Any:
            """The result of an Erlang function; see `api.call`."""

        async def call_erlang_later(
            self, module: str, function: str, args: list[Any], timeout: float | None
        ) -> Any:
            """The same in a coroutine; see `api.acall`."""

        def cast(self, to: object, message: object) -> None:
            """See `api.cast`."""

        def prepared_cast(self, to: object, message: object) -> Callable[[], None]:
            """See `api.prepared_cast`."""


class Place:
    """Where the files of a conversation's shared memory lie, and who this interpreter is there.

    It is here so that an interpreter knows it that has not imported `erl.shared` yet.
    """

    __slots__ = ("_next", "_next_mark", "_pid", "directory", "maker", "marks", "most_bytes", "node")

    def __init__(
        self, directory: str, maker: str, most_bytes: int, node: object, marks: str | None = None
    ) -> None:
        self.directory = directory
        self.marks = marks
        """Where what is mapped is noted (`erl.values.marks`); None where nobody asks."""
        self.maker = maker
        self.most_bytes = most_bytes
        """Of all files."""
        self.node = node
        self._next = count(1).__next__
        self._next_mark = count(1).__next__
        self._pid = os.getpid()

    @staticmethod
    def told(settings: dict[str, Any] | None) -> Place | None:
        """The place that a worker process tells its interpreter; None: it has no part in any."""
        if settings is None:
            return None
        directory, maker = os.fsdecode(settings["directory"]), os.fsdecode(settings["maker"])
        marks = settings.get("marks")
        return Place(
            directory,
            maker,
            settings["max_bytes"],
            settings["node"],
            None if marks is None else os.fsdecode(marks),
        )

    def new_path(self, size: int) -> str:
        """Where the next file of so many bytes is to be made."""
        return f"{self.directory}/{self.maker}-{self._next()}-{size}"

    def new_mark(self, name: str) -> str:
        """The next mark of the file of that name; a forked child's is one that its parent's end does not delete."""
        pid = os.getpid()
        own = "" if pid == self._pid else f"-{pid}"
        return f"{self.marks}/{name}.{self.maker}-{self._next_mark()}{own}"


class Scope:
    """One conversation."""

    __slots__ = (
        "bridge",
        "caches",
        "decoders",
        "encoders",
        "heard",
        "log",
        "memory",
        "pickles",
        "references",
        "session",
    )

    def __init__(self) -> None:
        self.references = References()
        self.pickles = Pickles()
        self.encoders = Encoders()
        self.decoders = Decoders()
        self.bridge: Bridge | None = None
        """None where there is no Erlang to talk to."""
        self.memory: Any = None
        """Where this interpreter shares memory: a `Place`, or None."""
        self.log: Any = None
        """The handler of `logging` that sends its records to Erlang, and the level: see `erl.runtime.logs`."""
        self.heard: Callable[[str, str, str], object] | None = None
        """Who is told of each record of `logging` as well: its level, logger and text."""
        self.session: Any = None
        """The namespace of a session: see `erl.calls.session`."""
        self.caches: dict[str, Any] = {}
        """What modules remember of this conversation, by their names. It may be lost."""

    def enter(self) -> Token[Scope]:
        """Have this context be part of the conversation; `leave` takes it back."""
        return _entered.set(self)

    def leave(self, token: Token[Scope]) -> None:
        """Have the context be what it was before `enter`."""
        _entered.reset(token)

    def context(self) -> Context:
        """A context of its own that is part of the conversation."""
        made = Context()
        made.run(_entered.set, self)
        return made


_entered: ContextVar[Scope] = ContextVar("erl.scope", default=Scope())

current: Callable[[], Scope] = _entered.get
"""The conversation that this code is part of."""
