"""What belongs to one conversation with Erlang.

A process has one, that of its port program; a context (`contextvars`) may enter another one.
"""

from __future__ import annotations

from _contextvars import ContextVar  # `contextvars` is a file more

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Mapping(Protocol):
        """How values are mapped where a call brings no options of its own."""

        @property
        def tagged(self) -> bool:
            """Whether tagged forms are on; else the mapping is ErlPort's."""

    class Bridge(Protocol):
        """The way to Erlang, as the functions of `erl.api` need it."""

        handler: Callable[[Any], object]
        worker: object

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


class Scope:
    """One conversation."""

    __slots__ = ("bridge",)

    def __init__(self) -> None:
        self.bridge: Bridge | None = None
        """None where there is no Erlang to talk to."""


_entered: ContextVar[Scope] = ContextVar("erl.scope", default=Scope())

current: Callable[[], Scope] = _entered.get
"""The conversation that this code is part of."""
