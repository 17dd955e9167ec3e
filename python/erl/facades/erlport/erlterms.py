"""ErlPort's `erlport.erlterms`: its types, `encode` and `decode`.

Where ErlPort's mapping holds, whatever Erlang sends is made of these types from the start. In a pool of `py` it is
from the import of this module on, for all code of the process; only an atom stays an `erl.Atom` there, since other
code expects a `str`, and compares with these.
"""

from __future__ import annotations

import struct

from erl import codec, decoders, errors, terms
from erl.codec import Options
from erl.codec.extents import end_of_term
from erl.values.plain import Atom, ImproperList, List, Map, MutationError, OpaqueObject, list_of, map_of
from erl.values.scope import current
from erl.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Atom",
    "ImproperList",
    "IncompleteData",
    "List",
    "Map",
    "MutationError",
    "OpaqueObject",
    "decode",
    "decode_term",
    "encode",
    "encode_term",
]

_PLAIN = Options.from_flags(20)


class IncompleteData(ValueError):
    """Raised by `decode` when the data end before the term does; has them as `data`."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"incomplete data: {data[:40]!r}")
        self.data = data


def _is_in_pool() -> bool:
    bridge = current().bridge
    return bridge is not None and bridge.options.tagged


def adapted(value: Any) -> Any:
    """The value as ErlPort gives it to user code, at every depth."""
    return _adapted(value) if _is_in_pool() else value


def _adapted(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return List(map(_adapted, value))
    if kind is tuple:
        return tuple(map(_adapted, value))
    if kind is dict:
        return Map({_adapted(key): _adapted(item) for key, item in value.items()})
    if kind is terms.ImproperList:
        return ImproperList(list(map(_adapted, value)), _adapted(value.tail))
    return value


def sent(value: Any) -> Any:
    """The value as ErlPort sends it, where a pool's mapping would send another term: a dict is a map."""
    return _sent(value) if _is_in_pool() else value


def _sent(value: Any) -> Any:
    kind = type(value)
    if kind is dict or kind is Map:
        return map_of({_sent(key): _sent(item) for key, item in value.items()})
    if kind is list or kind is List:
        return list_of(map(_sent, value))
    if kind is tuple:
        return tuple(map(_sent, value))
    if isinstance(value, terms.ImproperList):
        return terms.ImproperList(map(_sent, value), _sent(value.tail))
    return value


def encode(term: object, compressed: bool | int = False) -> bytes:
    """The term in the external term format, in ErlPort's mapping; `compressed` is a level, True for 6.

    Raises ValueError for what can't be encoded, and for a level that there is not.
    """
    level = 6 if compressed is True else int(compressed)
    if not 0 <= level <= 9:
        raise ValueError(f"a level of compression is 0 to 9, not {compressed!r}")
    frame = codec.encode(term, _PLAIN)
    return messages.compress(frame, level) if level else frame


def encode_term(term: object) -> bytes:
    """As `encode`, without the version byte."""
    return codec.encode(term, _PLAIN)[1:]


def decode(data: bytes) -> tuple[Any, bytes]:
    """The term at the start of `data`, and the bytes after it.

    Raises `IncompleteData` where the term does not end in the data, ValueError where there is none.
    """
    if data[:1] not in (b"", b"\x83"):
        raise ValueError(f"not a term: the version byte 131 is missing, there is {data[0]}")
    try:
        whole, rest = _inflated(data) if data[1:2] == b"P" else (data, b"")
        end = end_of_term(whole, 1)
        return codec.decode(whole[:end], _PLAIN), whole[end:] + rest
    except (IndexError, struct.error):
        raise IncompleteData(data) from None
    except errors.DecodeError as error:
        if "truncated" in str(error):
            raise IncompleteData(data) from None
        raise


def decode_term(data: bytes) -> tuple[Any, bytes]:
    """As `decode`, of data without the version byte."""
    return decode(b"\x83" + data)


def _inflated(data: bytes) -> tuple[bytes, bytes]:
    """A compressed term as a plain one, and the bytes after it."""
    import zlib

    size = int.from_bytes(data[2:6], "big")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data[6:], size + 1)
    except zlib.error as error:
        raise ValueError(f"a compressed term can't be read: {error}") from error
    if len(body) > size:
        raise ValueError(f"a compressed term is longer than the {size} bytes that it says")
    if not stream.eof:
        raise IncompleteData(data)
    if len(body) < size:
        raise ValueError(f"a compressed term is shorter than the {size} bytes that it says")
    return b"\x83" + body, stream.unused_data


def _adapt_arguments() -> None:
    """In a pool, have each argument adapted before it comes to what user code may have set."""
    if current().bridge is None or _is_in_pool():
        before = current().decoders.top.copy()
        decoders.set_decoder(lambda value: before[0](adapted(value)) if before else adapted(value))


_adapt_arguments()
