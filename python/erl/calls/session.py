"""A namespace that lives from call to call: what `py_session` asks of the interpreter that a session has to itself.

    > start(Token, Streams)               a new namespace, the module `__main__` from now on
    > restore(Token, Bytes, Unsigned, Streams)  the same, filled with a snapshot
    > run(Token, Blocks, As)              (Found, Value): the blocks in order, the value of the last one
    > snapshot(Token)                     (Found, Bytes, Left): what pickles, and [(Name, Why)] for what does not

A block is `(define, Name, Value)`, `(exec, Source)` or `(eval, Source)`. `Found` is false where the namespace of that
token is not here: it was another interpreter's, and nothing has been done.

Source is compiled under a name of its own, so that a traceback finds the line's text whatever was compiled since; what
is shown of it is `<session>`, see `traces.SESSION`. What has a top-level `await` runs on the session's event loop, in
the main thread as all of the session's code.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
from collections import OrderedDict
from keyword import iskeyword
from types import CodeType, CoroutineType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from erl import errors
from erl.calls import consoles, displays, references
from erl.names import lookup, traces
from erl.values import by_value, callout
from erl.values.scope import current

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine, Sequence, Sized

Code = tuple["CodeType | None", "CodeType | None"]
"""The statements of a block, and the expression at its end."""

_CO_COROUTINE = 0x80
_MOST_SOURCES = 1000
_MOST_CHARACTERS = 16_000_000
"""So many blocks, of so many characters, are kept compiled, and shown in tracebacks, and the newest in any
case; a task that evaluates one line for years has one."""


class Session:
    """One namespace and what was compiled for it."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.module = ModuleType("__main__")
        self.namespace: dict[str, Any] = self.module.__dict__
        self.namespace["__builtins__"] = builtins
        self._codes: OrderedDict[tuple[str, bool], Code] = OrderedDict()
        self._code_characters = 0
        self._sources: OrderedDict[str, str] = OrderedDict()
        self._source_characters = 0
        self._count = 0
        self._loop: AbstractEventLoop | None = None

    def define(self, name: object, value: object) -> None:
        """Bind a name. Raises `ValueError` for what is no name."""
        identifier = lookup.name_of(name)
        if not identifier.isascii():
            from unicodedata import normalize

            # As Python reads names: https://docs.python.org/3/reference/lexical_analysis.html#identifiers
            identifier = normalize("NFKC", identifier)
        if not identifier.isidentifier() or iskeyword(identifier):
            raise ValueError(f"{identifier!r} is no name for a variable")
        self.namespace[identifier] = value

    def run(self, source: object, is_value_wanted: bool) -> object:
        """Run a block; the value of the expression at its end, None where there is none or it is not wanted."""
        statements, expression = self._compiled(_text(source), is_value_wanted)
        if statements is not None:
            self._execute(statements)
        value = None if expression is None else self._execute(expression)
        return self._await(value) if isinstance(value, CoroutineType) else value

    def _compiled(self, source: str, is_value_wanted: bool) -> Code:
        key = (source, is_value_wanted)
        known = self._codes.get(key)
        if known is not None:
            return known
        self._count += 1
        name = f"{traces.SESSION[:-1]} {self._count}>"
        text = _dedented(source)
        code = _compile(text, name, is_value_wanted)
        self.show(name, text)
        self._codes[key] = code
        self._code_characters += len(source)
        while _is_too_much(self._codes, self._code_characters):
            (oldest, _), _ = self._codes.popitem(last=False)
            self._code_characters -= len(oldest)
        return code

    def show(self, name: str, source: str) -> None:
        """Let tracebacks find the lines of a block that was compiled under this name."""
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        self._source_characters += len(source) - len(self._sources.pop(name, ""))
        self._sources[name] = source
        while _is_too_much(self._sources, self._source_characters):
            oldest, text = self._sources.popitem(last=False)
            self._source_characters -= len(text)
            linecache.cache.pop(oldest, None)

    def sources(self) -> dict[str, str]:
        """The blocks that tracebacks show, by name."""
        return dict(self._sources)

    def add(self, names: dict[str, Any], sources: dict[str, str]) -> None:
        """Take over names of another interpreter's session, and the blocks that they were made by."""
        self.namespace.update(names)
        for name, source in sources.items():
            self.show(name, source)
            self._count = max(self._count, int(name[len(traces.SESSION) : -1]))

    def _execute(self, code: CodeType) -> object:
        value = eval(code, self.namespace)
        if code.co_flags & _CO_COROUTINE:
            return self._await(value)
        return value

    def _await(self, coroutine: Coroutine[Any, Any, object]) -> object:
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        except BaseException as error:
            if not task.done():  # interrupted between two steps of it
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task]))
            failure = error
        raise failure.with_traceback(_without_loop(failure))

    def close(self) -> None:
        """Let go of the event loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None


_first_main = sys.modules.get("__main__")
"""Kept: a module that nobody refers to loses its names."""


def prepare() -> None:
    """What a worker that is kept for a session calls when it starts: what its first value needs is loaded then."""
    import erl.codec.haystack  # noqa: F401


def start(token: int, streams: Sequence[str] = ()) -> None:
    """Begin a namespace; what was there before is gone. For `streams` see `consoles.attach`."""
    _begun(token, streams)


def _begun(token: int, streams: Sequence[str] = ()) -> Session:
    consoles.attach(streams)
    scope = current()
    if scope.session is not None:
        scope.session.close()
    session = scope.session = Session(token)
    # Where pickle, dataclasses and others look for what has been defined in it.
    sys.modules["__main__"] = session.module
    return session


def run(token: int, blocks: list[tuple[Any, ...]], as_: object = "value") -> tuple[bool, object]:
    """Run blocks in order; the value of the last one: as it is, as a `ref`, or as it is shown (`display`).

    What a block raises ends the call: those after it do not run.
    """
    session = _found(token)
    if session is None:
        return False, None
    value: object = None
    with consoles.interruptible():
        for kind, *rest in blocks:
            if kind == "define":
                session.define(*rest)
            else:
                value = session.run(rest[0], kind == "eval")
        if as_ == "display":
            value = displays.of(value)
    return True, references.hold(value) if as_ == "ref" or as_ is True else value


def snapshot(token: int) -> tuple[bool, object, list[tuple[str, str]]]:
    """The namespace as bytes, and the names that have no place in them, each with the reason.

    Raises `errors.NotPicklableError` where cloudpickle is missing.
    """
    session = _found(token)
    if session is None:
        return False, None, []
    data, left = _pickled(session.namespace, session.sources())
    return True, current().pickles.signed(data), left


def restore(token: int, data: bytes, unsigned: bool = False, streams: Sequence[str] = ()) -> None:
    """Begin a namespace with what `snapshot` of another interpreter gave.

    `unsigned` is for an interpreter in a sandbox, which can't know the key of the one that was copied. Raises
    `errors.DecodeError` for what bears no signature elsewhere.
    """
    import io
    import pickle

    if not unsigned:
        current().pickles.verify(data)
    session = _begun(token, streams)
    namespace = session.namespace

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, _pid: Any) -> Any:
            return namespace

    session.add(*Unpickler(io.BytesIO(data)).load())


def _found(token: int) -> Session | None:
    session: Session | None = current().session
    return session if session is not None and session.token == token else None


# Source


def _is_too_much(blocks: Sized, characters: int) -> bool:
    return len(blocks) > _MOST_SOURCES or (characters > _MOST_CHARACTERS and len(blocks) > 1)


def _text(source: object) -> str:
    """The text, without the mark that some editors put before it."""
    text = source.decode() if isinstance(source, bytes) else str(source)
    return text.removeprefix("\ufeff")


def _dedented(source: str) -> str:
    """The source, without the indentation that all of it has."""
    if not source.lstrip("\r\n").startswith((" ", "\t")):
        return source
    import textwrap

    return textwrap.dedent(source)


def _compile(source: str, name: str, is_value_wanted: bool) -> Code:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        tree = compile(source, name, "exec", ast.PyCF_ONLY_AST | flags, dont_inherit=True)
        assert isinstance(tree, ast.Module)
        last: ast.expr | None = None
        if is_value_wanted and tree.body and isinstance(tree.body[-1], ast.Expr):
            last = tree.body[-1].value
            del tree.body[-1]
        return (
            compile(tree, name, "exec", flags, dont_inherit=True) if tree.body else None,
            None if last is None else compile(ast.Expression(last), name, "eval", flags, dont_inherit=True),
        )
    except SyntaxError as error:
        if error.filename == name:
            error.filename = traces.SESSION
        raise


def _without_loop(error: BaseException) -> Any:
    """The traceback from the session's own code on: the event loop's frames before it say nothing."""
    traceback = error.__traceback__
    while traceback is not None and not traceback.tb_frame.f_code.co_filename.startswith(traces.SESSION[:-1]):
        traceback = traceback.tb_next
    return traceback or error.__traceback__


# Snapshots


def _pickled(namespace: dict[str, Any], sources: dict[str, str]) -> tuple[bytes, list[tuple[str, str]]]:
    """All at once, so that what is shared stays so; name by name only where that fails."""
    dump = _dumper(namespace)
    names = {name: value for name, value in namespace.items() if not name.startswith("__")}
    if (data := _attempt(dump, (names, sources))[0]) is not None:
        return data, []
    left = [(name, why) for name, value in names.items() if (why := _attempt(dump, value)[1])]
    for name, _ in left:
        del names[name]
    return dump((names, sources)), left


def _attempt(dump: Any, value: object) -> tuple[bytes | None, str]:
    try:
        return callout.run(errors.NotPicklableError, "pickling", dump, value), ""
    except errors.NotPicklableError as error:
        return None, callout.described(error.__cause__ or error)


def _dumper(namespace: dict[str, Any]) -> Any:
    import io

    try:
        base = by_value.pickler()
    except ImportError:
        raise errors.NotPicklableError(
            "a session is copied with cloudpickle, which is not installed"
        ) from None

    class Pickler(base):  # type: ignore[misc, valid-type]
        """Functions of the namespace, by value, are functions of the one that the snapshot is read into."""

        def persistent_id(self, value: Any) -> Any:
            return "namespace" if value is namespace else None

        def reducer_override(self, value: Any) -> Any:
            if type(value) is FunctionType and value.__globals__ is namespace:
                return _reduced(value)
            reduced = super().reducer_override(value)
            if reduced is NotImplemented and type(value) not in self.dispatch_table and _is_named(value):
                return _unnamed(value)
            return reduced

    def dump(value: object) -> bytes:
        stream = io.BytesIO()
        Pickler(stream, protocol=5).dump(value)
        return stream.getvalue()

    return dump


def _is_named(value: Any) -> bool:
    """Whether it is of a library's making and says that it is a name of the session's, as which it pickles."""
    of = type(value)
    return (
        not issubclass(of, type)
        and of.__module__ != "__main__"
        and getattr(value, "__module__", None) == "__main__"
    )


def _unnamed(value: Any) -> tuple[Any, ...]:
    """How to make it anew: where the snapshot is read nothing has a name yet."""
    import functools
    import pickle
    import typing

    if isinstance(value, functools._lru_cache_wrapper):
        return _cached, (value.__wrapped__, value.cache_parameters())
    if isinstance(value, typing.NewType):
        return typing.NewType, (value.__name__, value.__supertype__)
    reduced = value.__reduce_ex__(5)
    if isinstance(reduced, str):
        raise pickle.PicklingError(f"a {type(value).__name__} is known by its name only")
    return reduced  # type: ignore[no-any-return]


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    import functools

    return functools.lru_cache(**parameters)(function)


_Empty = type("_Empty", (), {"__reduce__": lambda self: "_EMPTY", "__module__": __name__})
_EMPTY = _Empty()
"""The content of a cell that has none yet."""


def _reduced(function: FunctionType) -> tuple[Any, ...]:
    """In two steps, as a function may be in its own closure."""
    state = {
        "cells": [_content(cell) for cell in function.__closure__ or ()],
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__dict__": function.__dict__,
    }
    args = (function.__code__, function.__globals__, function.__name__, len(function.__closure__ or ()))
    return _made_function, args, state, None, None, _set_function


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _made_function(code: CodeType, namespace: dict[str, Any], name: str, cells: int) -> FunctionType:
    from types import CellType

    return FunctionType(code, namespace, name, None, tuple(CellType() for _ in range(cells)))


def _set_function(function: FunctionType, state: dict[str, Any]) -> None:
    for cell, content in zip(function.__closure__ or (), state.pop("cells"), strict=True):
        if content is not _EMPTY:
            cell.cell_contents = content
    function.__dict__.update(state.pop("__dict__"))
    for name, value in state.items():
        setattr(function, name, value)
