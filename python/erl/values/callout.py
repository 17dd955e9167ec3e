"""The codec's door to code it does not know: registered encoders and decoders, `__reduce__`, `__hash__`, `__str__`.

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


def text_of(error: BaseException, with_suggestion: bool = False) -> str:
    """An exception's text, also when its `__str__` raises, or would end the interpreter; with what CPython adds."""
    try:
        text = str(error)
        if with_suggestion and type(error) in _SUGGESTED:
            text += _suggested(error, text)
    except BaseException as second:  # user code, as behind the server's door
        return f"<exception str() failed with {type(second).__name__}>"
    return "\n".join([text, *_notes(error)])


def _notes(error: BaseException) -> list[str]:
    """What was added to it, as CPython shows it: one that is no list by its `repr`, one that fails is said to."""
    try:
        notes = getattr(error, "__notes__", None)
        if notes is None:
            return []
        if not isinstance(notes, (list, tuple)):
            return [repr(notes)]
    except BaseException as second:
        return [f"<__notes__ failed with {type(second).__name__}>"]
    return [_note(note) for note in notes]


def _note(note: object) -> str:
    try:
        return str(note)
    except BaseException as second:
        return f"<note str() failed with {type(second).__name__}>"


def _suggested(error: BaseException, text: str) -> str:
    """`. Did you mean: 'sqrt'?`, or nothing."""
    try:
        from erl.values import suggestion  # with the first one

        found = suggestion.of(error)
    except Exception:  # of an object that is none as others are
        return ""
    return ("" if text.endswith((".", "?")) else ".") + found if found and "Did you mean" not in text else ""


_SUGGESTED = frozenset((AttributeError, NameError, UnboundLocalError, ImportError))
