"""What a function's value comes to in the end: an awaitable is awaited, a generator collected."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

_GENERATOR = type(_ for _ in ())


def ended(value: Any) -> Any:
    """What an awaitable gives, and a list of what a generator yields, also an asynchronous one."""
    kind = type(value)
    if hasattr(kind, "__await__"):
        import asyncio

        async def wait() -> Any:
            return await value

        return asyncio.run(wait())
    if hasattr(kind, "__anext__"):
        import asyncio

        async def collect() -> list[Any]:
            return [item async for item in value]

        return asyncio.run(collect())
    if kind is _GENERATOR:
        return list(value)
    return value
