"""The codec's door to code it does not know: registered encoders and decoders, `__reduce__`, `__hash__`.

This is the one place of the codec where any exception is caught, because any can come.
"""

from __future__ import annotations

from erl import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Result = TypeVar("_Result")


def run(
    error: type[errors.CodecError], what: str, function: Callable[..., _Result], *arguments: Any
) -> _Result:
    """The result of `function(*arguments)`.

    What it raises becomes an `error` that says `what` failed and why. An `error` goes through as it is, so
    does a `StaleReferenceError`, and so does what is not an `Exception` (a cancelled call, an interrupt).
    """
    try:
        return function(*arguments)
    except errors.StaleReferenceError:
        raise
    except Exception as cause:
        if isinstance(cause, error):
            raise
        raise error(f"{what} failed: {described(cause)}") from cause


def described(exception: BaseException) -> str:
    """The exception's type and text; the type alone where its `__str__` raises."""
    name = type(exception).__name__
    try:
        text = str(exception)
    except Exception:
        return name
    return f"{name}: {text}" if text else name


def shown(value: object, limit: int = 80) -> str:
    """The value's `repr`, cut to `limit` characters; its type alone where the `repr` raises."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
