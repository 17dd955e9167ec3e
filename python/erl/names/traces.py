"""Tracebacks as Erlang has them: where an exception was raised, and from which other one."""

from __future__ import annotations

import sys

from erl.terms import Atom, Tag
from erl.values.callout import text_of

SESSION = "<session>"
"""The file that a traceback names for the source of a session, whose parts are numbered: `<session 1>`."""

# Compiled code names its source as its build saw it.
_OURS = (__file__.rpartition("names/traces")[0], "erl/codec/native")
_MOST_FRAMES = 100
_ITEM = "_erl_item"


def trace_of(error: BaseException, sources: bool = True) -> list[object]:
    """An exception's traceback as `errors` of the Erlang side have it.

    `{File, Line, Function, Source}`, innermost first, without the frames of this package that lead to user code; then
    `{cause, Class, Text, Trace}` for the exception that it was raised from, and `{item, Index}` where it was marked.
    Without `sources`, each line's text is empty.
    """
    trace = _trace(error, 8, sources)
    # Taken off: an exception that user code keeps may be raised again in a call that has no items.
    index = error.__dict__.pop(_ITEM, None)
    if index is not None:
        trace.append((Atom("item"), index))
    return trace


def mark_item(error: BaseException, index: int) -> None:
    """Say which item of a chunk the exception belongs to; `trace_of` passes it on."""
    error.__dict__[_ITEM] = index


def _trace(error: BaseException, causes: int, sources: bool) -> list[object]:
    steps: list[tuple[str, int, str]] = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        ours = code.co_filename.startswith(_OURS) and not steps
        if not ours and not code.co_filename.startswith("<frozen importlib"):
            steps.append((code.co_filename, traceback.tb_lineno or 0, code.co_name))
        traceback = traceback.tb_next
    frames: list[object] = [_frame(*step, sources) for step in steps[-_MOST_FRAMES:]]
    if isinstance(error, SyntaxError) and error.filename == SESSION:
        frames.append((Tag(SESSION), error.lineno or 0, Tag("<module>"), Tag((error.text or "").strip())))
    frames.reverse()
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and causes:
        kind = type(cause)
        name = Atom(f"{kind.__module__}.{kind.__qualname__}"[:255])
        frames.append((Atom("cause"), name, Tag(text_of(cause, True)), _trace(cause, causes - 1, sources)))
    return frames


def _frame(file: str, line: int, name: str, sources: bool) -> tuple[object, ...]:
    text = _source(file, line) if sources else ""
    if file.startswith(SESSION[:-1]):
        file = SESSION
    return (Tag(file), line, Tag(name), Tag(text))


def _source(file: str, line: int) -> str:
    """The text of a line; none where it can't be had, as when all descriptors are in use."""
    try:
        import linecache

        return linecache.getline(file, line).strip()
    except MemoryError:
        raise
    except Exception:
        return ""


def show(what: str, error: BaseException) -> None:
    """Print an exception on the standard error, behind a line that says what it is."""
    try:
        from traceback import print_exception

        print(what, file=sys.stderr)
        print_exception(error, file=sys.stderr)
    except Exception:  # whatever user code has made of the standard error, or of modules
        return
