"""What runs in a service's workers: the handler is found and initialised once, then called with each request.

`start` is the pool's `on_start`, so a replica serves nothing before its init function has returned. `handle`, `more`
and `close` are called with bytes from the front (`erl.serving.exchange`), and answer bytes. An answer that is streamed
comes in pieces: `handle` answers with its head, the first piece and a number, `more` with each further piece, when the
client has taken the one before.
"""

from __future__ import annotations

import datetime
import inspect
import json
import logging
import time
from itertools import count
from typing import Any, Final

from erl import errors
from erl.serving import exchange, handlers, responses
from erl.serving.contexts import Context, ReplicaLogger, request_id
from erl.serving.encoding import Encoder
from erl.serving.events import Event, TriggerInfo, parsed_json
from erl.terms import Atom

_MOST_STREAMS: Final = 1_000
_IDLE_SECONDS: Final = 300.0
_DROPPED: Final = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer")
)
_TRIGGER: Final = TriggerInfo("http", "http")

_logger = logging.getLogger("erl.serving")
_encode = Encoder().encode


class _Replica:
    def __init__(self, handler: handlers.Handler, context: Context) -> None:
        self.handler = handler
        self.context = context
        self.streams: dict[int, _Stream] = {}
        self.numbers = count(1)


class _Stream:
    __slots__ = ("asked", "generator", "id", "is_async")

    def __init__(self, generator: Any, id_: str) -> None:
        self.generator = generator
        self.id = id_
        self.is_async = inspect.isasyncgen(generator)
        self.asked = time.monotonic()


_replica: _Replica | None = None


def start(spec: dict[str, Any], number: int) -> None:
    """Find the handler, and run its init function: `handler`, `init_function`, `init_parameters`, `source`, `log`.

    `number` is that of the worker in its pool, from 1 on: one that is replaced has that of the one before.
    """
    said = {_text(key): value for key, value in spec.items()}
    kept = said.get("log")
    if kept in (None, Atom("undefined")):
        _start(said, number, logging.NOTSET)
        return
    from erl.serving import logs

    log = logs.install(_plain(kept["directory"]), [_text(name) for name in kept["hidden"]])
    try:
        # As jobs have it: what the handler says itself is wanted.
        _start(said, number, logging.INFO)
    except BaseException as error:
        log.trace(_of_user(error))
        raise


def _start(said: dict[str, Any], number: int, level: int) -> None:
    global _replica
    source = said.get("source")
    if source in (None, Atom("undefined")):
        function = handlers.find(_text(said["handler"]))
        named = said.get("init_function")
        init = handlers.find_init(None if named is None else _text(named), function)
        parameters = {_text(key): _plain(value) for key, value in (said.get("init_parameters") or {}).items()}
        project = None
    else:
        function, init, parameters, project = _of_source(json.loads(source))
    # Else the pool's `log_level` says what is passed on.
    level = logging.NOTSET if logging.getLogger("erl.serving.handler").isEnabledFor(level) else level
    context = Context(ReplicaLogger(level, "erl.serving.handler"), worker_id=number - 1, trigger=_TRIGGER)
    if init is not None:
        outcome = handlers.run_init(init, context, parameters)
        if inspect.isawaitable(outcome):
            import asyncio

            asyncio.run(_awaited(outcome))
    elif parameters:
        raise ValueError(f"Init function parameters mismatch. Expected: [], Got: {list(parameters)}")
    _replica = _Replica(handlers.Handler(function, project), context)


def _of_source(said: dict[str, Any]) -> tuple[Any, Any, dict[str, Any], Any]:
    """The handler and the init function of a source that is kept (`erl.functions`), and what else goes with it."""
    from erl.functions import loading, projects

    function = loading.load(said["directory"], said["hash"], said["handler"])
    named = said["init_function"]
    if named is None:
        init = handlers.find_init(None, function)
    elif ":" in named:
        init = loading.load(said["directory"], said["hash"], named)
    else:
        init = handlers.find_init(named, function)
    name = said["project"]
    return function, init, said["init_parameters"], lambda: projects.get_project(name)


async def _awaited(outcome: Any) -> None:
    await outcome


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_text(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _this() -> _Replica:
    if _replica is None:
        raise RuntimeError("this Python is no replica of a service")
    return _replica


def handle(data: bytes) -> Any:
    """Answer a request: with bytes, or with bytes and a stream's number; later, where the handler is a coroutine."""
    replica = _this()
    id_, method, target, _scheme, headers, body = exchange.read_request(data)
    token = request_id.set(id_)
    try:
        event, content_type = _event(id_, method, target, headers, body)
        output = replica.handler.call(replica.context, event, content_type, body)
        if inspect.isawaitable(output):
            return _later(output, id_)
        return _answered(replica, output, id_)
    except (errors.CallCancelled, MemoryError):
        raise
    except BaseException as error:  # the door around the handler
        return _failed(error, id_)
    finally:
        request_id.reset(token)


async def _later(output: Any, id_: str) -> Any:
    request_id.set(id_)
    try:
        value = await output
        if inspect.isasyncgen(_source(value)):
            return await _first_of_async(_this(), value, id_)
        return _answered(_this(), value, id_)
    except (errors.CallCancelled, MemoryError):
        raise
    except Exception as error:  # the door around the handler
        return _failed(error, id_)


def _event(
    id_: str, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[Event, str]:
    by_title: dict[str, str] = {}
    content_type = ""
    for name, value in headers:
        title = name.title()
        by_title[title] = f"{by_title[title]}, {value}" if title in by_title else value
        if name == "content-type":
            content_type = value
    path, _, query = target.partition("?")
    fields: dict[str, Any] = {}
    if query:
        from urllib.parse import parse_qs

        read = parse_qs(query, keep_blank_values=True, max_num_fields=1_000)
        fields = {name: values[0] if len(values) == 1 else values for name, values in read.items()}
    if "%" in path:
        from urllib.parse import unquote

        path = unquote(path)
    event = Event(
        body=parsed_json(body) if body and handlers.is_json_type(content_type) else body,
        content_type=content_type or None,
        trigger=_TRIGGER,
        fields=fields,
        headers=by_title,
        _id=id_,
        method=method,
        path=path,
        size=len(body),
        timestamp=datetime.datetime.now(datetime.timezone.utc),
        url=target,
    )
    return event, content_type


def _answered(replica: _Replica, output: Any, id_: str) -> Any:
    generator = _source(output)
    if inspect.isgenerator(generator):
        return _first_of(replica, output, generator, id_)
    if inspect.isasyncgen(generator):
        return _first_of_async(replica, output, id_)
    return _encoded(output)


def _source(output: Any) -> Any:
    return output.body if isinstance(output, responses.Response) else output


def _encoded(output: Any) -> bytes:
    status, headers, content_type, body, _ = responses.parts(output, _encode)
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"{status!r} is no status of a response: it is a number from 200 to 599")
    if isinstance(body, (bytes, bytearray)):
        data = bytes(body)
    else:
        text = str(body)
        data = text.encode()
        if not text.isascii() and content_type.startswith("text/") and "charset" not in content_type:
            content_type += "; charset=utf-8"
    said = [(str(name).lower(), str(value)) for name, value in headers.items()]
    lines = [pair for pair in said if pair[0] not in _DROPPED and pair[0] != "content-type"]
    own = next((value for name, value in said if name == "content-type"), content_type)
    return exchange.answer(status, [("content-type", own), *lines], data)


def _failed(error: BaseException, id_: str) -> bytes:
    if isinstance(error, handlers.RefusedError):
        said, status = {"error": str(error), "id": id_}, error.status
    else:
        _logger.error("request %s failed: %s", id_, type(error).__name__, exc_info=_of_user(error))
        said, status = {"error": type(error).__name__, "id": id_}, 500
    error.__traceback__ = None
    return exchange.answer(status, [("content-type", "application/json")], _encode(said).encode())


_OURS = __file__.rpartition("serving/")[0]


def _of_user(error: BaseException) -> BaseException:
    """Without what leads to user code, which is no news to whoever has written that."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_OURS):
        own = own.tb_next
    return error if own is None else error.with_traceback(own)


# Streams


def _first_of(replica: _Replica, output: Any, generator: Any, id_: str) -> Any:
    try:
        piece = next(generator)
    except StopIteration:
        return _encoded(_headed(output, ""))
    return _opened(replica, output, piece, generator, id_)


async def _first_of_async(replica: _Replica, output: Any, id_: str) -> Any:
    token = request_id.set(id_)
    try:
        generator = _source(output)
        try:
            piece = await anext(generator)
        except StopAsyncIteration:
            return _encoded(_headed(output, ""))
        return _opened(replica, output, piece, generator, id_)
    except (errors.CallCancelled, MemoryError):
        raise
    except Exception as error:  # the door around the handler
        return _failed(error, id_)
    finally:
        request_id.reset(token)


def _headed(output: Any, piece: Any) -> Any:
    if not isinstance(output, responses.Response):
        return piece
    return responses.with_body(output, piece.body if isinstance(piece, responses.Response) else piece)


def _opened(replica: _Replica, output: Any, piece: Any, generator: Any, id_: str) -> tuple[bytes, int]:
    _sweep(replica)
    if len(replica.streams) >= _MOST_STREAMS:
        raise RuntimeError(f"{_MOST_STREAMS} streamed answers are open in this replica, and no more may be")
    head = _encoded(_headed(output, piece))
    number = next(replica.numbers)
    replica.streams[number] = _Stream(generator, id_)
    return head, number


def _sweep(replica: _Replica) -> None:
    """End those that nobody has asked for a long time: their front is gone."""
    now = time.monotonic()
    for number, stream in list(replica.streams.items()):
        if now - stream.asked > _IDLE_SECONDS and not stream.is_async:
            replica.streams.pop(number, None)
            _closed(stream)


def more(data: bytes) -> Any:
    """The next piece of the stream of this number behind one byte, 1; or 0 alone, where there is none."""
    replica = _this()
    number = int.from_bytes(data, "big")
    stream = replica.streams.get(number)
    if stream is None:
        raise LookupError("the replica knows no such stream: its Python is another one")
    stream.asked = time.monotonic()
    if stream.is_async:
        return _more_later(replica, number, stream)
    token = request_id.set(stream.id)
    try:
        return b"\1" + responses.piece_bytes(next(stream.generator))
    except StopIteration:
        replica.streams.pop(number, None)
        return b"\0"
    except BaseException as error:
        _broken(replica, number, stream, error)
        raise
    finally:
        request_id.reset(token)


async def _more_later(replica: _Replica, number: int, stream: _Stream) -> bytes:
    request_id.set(stream.id)
    try:
        return b"\1" + responses.piece_bytes(await anext(stream.generator))
    except StopAsyncIteration:
        replica.streams.pop(number, None)
        return b"\0"
    except BaseException as error:
        _broken(replica, number, stream, error)
        raise


def _broken(replica: _Replica, number: int, stream: _Stream, error: BaseException) -> None:
    replica.streams.pop(number, None)
    if not isinstance(error, errors.CallCancelled):
        _logger.error(
            "request %s failed in its stream: %s", stream.id, type(error).__name__, exc_info=_of_user(error)
        )


def close(data: bytes) -> Any:
    """The client has gone: the generator is closed."""
    stream = _this().streams.pop(int.from_bytes(data, "big"), None)
    if stream is not None and stream.is_async:
        return _close_later(stream)
    if stream is not None:
        _closed(stream)
    return b""


def _closed(stream: _Stream) -> None:
    try:
        stream.generator.close()
    except Exception as error:  # the generator's own clean-up
        _logger.error("request %s failed as its stream was closed", stream.id, exc_info=error)


async def _close_later(stream: _Stream) -> bytes:
    try:
        await stream.generator.aclose()
    except Exception as error:  # the generator's own clean-up
        _logger.error("request %s failed as its stream was closed", stream.id, exc_info=error)
    return b""
