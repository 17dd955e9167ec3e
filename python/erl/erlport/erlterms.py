"""ErlPort's `erlport.erlterms`: `Atom`, `List`, `ImproperList`, `OpaqueObject`, `encode`, `decode`.

From the import of this module on, whatever Erlang sends is made of these types, for all code of the process: a list is
a `List`. An atom is an `Atom` where the server was started with ErlPort's flags alone; in a pool of `py`, where other
code expects a `str`, it stays an `erl.Atom`, which compares with these.
"""

from __future__ import annotations

import struct

from erl import api, codec, decoders, errors, terms, wire
from erl.codec import Options
from erl.codec.extents import end_of_term
from erl.terms import BytesAtom as Atom
from erl.terms import ImproperList, List

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Atom", "ImproperList", "IncompleteData", "List", "OpaqueObject", "decode", "encode"]

_PLAIN = Options.from_flags(20)
_HANDLES = (terms.OpaqueErlang, terms.Pid, terms.Port, terms.Reference, terms.Fun)


class IncompleteData(ValueError):
    """Raised by `decode` when the data end before the term does."""


class _OpaqueKind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _HANDLES)


class OpaqueObject(metaclass=_OpaqueKind):
    """What only Erlang can look into: pids, references, funs and the like. Has `data` and `language`.

    The type of none: a value has the type in `erl.terms`, and `isinstance` knows it. Raises ValueError for another
    language than `erlang`.
    """

    def __new__(cls, data: bytes, language: Any) -> Any:
        """The object with these bytes (a term without the version byte)."""
        if Atom(language) != "erlang":
            raise ValueError(f"an opaque object of {language!r} is not known here")
        return terms.OpaqueErlang(data)


def adapted(value: Any) -> Any:
    """The value as ErlPort gives it to user code, at every depth."""
    server = api._server
    return _adapted(value, server is None or not server.options.tagged)


def _adapted(value: Any, has_bytes_atoms: bool) -> Any:
    kind = type(value)
    if kind is terms.Atom:
        return Atom(value) if has_bytes_atoms else value
    if kind is list:
        return List([_adapted(item, has_bytes_atoms) for item in value])
    if kind is tuple:
        return tuple([_adapted(item, has_bytes_atoms) for item in value])
    if kind is dict:
        return {
            _adapted(key, has_bytes_atoms): _adapted(item, has_bytes_atoms) for key, item in value.items()
        }
    if kind is ImproperList:
        items = [_adapted(item, has_bytes_atoms) for item in value]
        return ImproperList(items, _adapted(value.tail, has_bytes_atoms))
    return value


def encode(term: object, compressed: bool | int = False) -> bytes:
    """The term in the external term format, in ErlPort's mapping; `compressed` is a level, True for 6.

    Raises ValueError for what can't be encoded.
    """
    frame = codec.encode(term, _PLAIN)
    level = 6 if compressed is True else int(compressed)
    return wire.compress(frame, level) if level else frame


def decode(data: bytes) -> tuple[Any, bytes]:
    """The term at the start of `data`, and the bytes after it.

    Raises `IncompleteData` where the term does not end in the data, ValueError where there is none.
    """
    if data[:1] not in (b"", b"\x83"):
        raise ValueError(f"not a term: the version byte 131 is missing, there is {data[0]}")
    try:
        whole, rest = _inflated(data) if data[1:2] == b"P" else (data, b"")
        end = end_of_term(whole, 1)
        return adapted(codec.decode(whole[:end], _PLAIN)), whole[end:] + rest
    except (IndexError, struct.error):
        raise IncompleteData(f"incomplete data: {data[:40]!r}") from None
    except errors.DecodeError as error:
        if "truncated" in str(error):
            raise IncompleteData(f"incomplete data: {data[:40]!r}") from None
        raise


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
        raise IncompleteData(f"incomplete data: {data[:40]!r}")
    return b"\x83" + body, stream.unused_data


def _adapt_arguments() -> None:
    """Have each argument adapted, before it comes to what user code may have set."""
    before = decoders._top
    decoders.set_decoder(adapted if before is None else lambda value: before(adapted(value)))


_adapt_arguments()
