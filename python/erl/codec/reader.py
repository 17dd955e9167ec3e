"""Whole terms and messages, read. Every refusal is a `DecodeError`.

(`StaleReferenceError` comes out too: the bytes are right then, and the object that they name is gone.)
"""

from __future__ import annotations

import struct
from struct import Struct

from erl import errors
from erl.codec import tags
from erl.codec.options import BINARIES_BYTES, MAX_INFLATED_BYTES, Options
from erl.codec.tagged import TaggedWalk
from erl.codec.walk import truncated
from erl.terms import Atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_u32 = Struct(">I").unpack_from

_RAW: Final = Options.from_flags(BINARIES_BYTES)


class Reader(TaggedWalk):
    """Reads a message: a term piece by piece, so that its options can come from its own front.

    `data` is a term with its version byte (131), plain or compressed, and begins at `offset`. `position` is
    where the next piece begins (in the inflated data, where the term was compressed).
    """

    __slots__ = ()

    def __init__(self, data: bytes, offset: int = 0) -> None:
        head = data[offset : offset + 2]
        if head[:1] != b"\x83":
            raise errors.DecodeError("not a term: the version byte 131 is missing")
        if head == b"\x83P":
            super().__init__(inflated(data, offset + 2), 0)
        else:
            super().__init__(data, offset + 1)

    def call_head(self) -> tuple[int, Atom, Atom] | None:
        """Id, module and function of `{'C', Id, Module, Function, Args}`; the arguments are the next piece.

        None, and the position is what it was, for any other term.
        """
        start = self.position
        if self._data[start : start + 2] == b"h\x05" and (self.tuple_header(), self.raw())[1] == "C":
            id_, module, function = self.raw(), self.raw(), self.raw()
            if type(id_) is int and type(module) is Atom and type(function) is Atom:
                return id_, module, function
        self.position = start
        return None

    def tuple_header(self) -> int:
        """Enter a tuple; returns its size."""
        return self._header((tags.SMALL_TUPLE, tags.LARGE_TUPLE), "tuple")

    def list_header(self) -> int:
        """Enter a list; returns its length. After its elements comes `list_end`, unless the length is 0.

        A list that came as STRING_EXT has no elements to enter: `args` reads it.
        """
        if self._data[self.position : self.position + 1] == b"j":
            self.position += 1
            return 0
        return self._header((tags.LIST,), "list")

    def list_end(self) -> None:
        """Leave a list; DecodeError where it is improper or not at its end."""
        if self._data[self.position : self.position + 1] != b"j":
            raise errors.DecodeError(f"a list does not end at byte {self.position}: it is improper")
        self.position += 1

    def term(self, options: Options) -> Any:
        """The next term."""
        return self._read(options, 1)[0]

    def raw(self) -> Any:
        """The next term, binaries as `bytes`."""
        return self._read(_RAW, 1)[0]

    def _raw(self, term: bytes) -> Any:
        return decode(term, _RAW)

    def args(self, options: Options) -> list[Any]:
        """A whole list as a list of values; DecodeError for a term that is no proper list."""
        values = self._string_as_list()
        if values is not None:
            return values
        count = self.list_header()
        if count == 0:
            return []
        values = self._read(options, count)
        self.list_end()
        return values

    def flagged_args(self) -> tuple[Options, list[Any]]:
        """A list whose first element is the flags of the call: the options, and the other elements under
        them.
        """
        values = self._string_as_list()
        if values is not None:
            return _options(values[0] if values else None), values[1:]
        count = self.list_header()
        options = _options(self._read(_RAW, 1)[0] if count else None)
        rest = self._read(options, count - 1)
        self.list_end()
        return options, rest

    def end(self) -> None:
        """DecodeError if bytes remain. The reader is empty then, and lets go of its data."""
        if self.position != self._size:
            raise errors.DecodeError(f"{self._size - self.position} bytes follow the term")
        self.let_go()

    def let_go(self) -> None:
        """Be empty."""
        self._data = b""
        self._size = self.position = 0

    def _header(self, expected: tuple[int, ...], what: str) -> int:
        i = self.position
        try:
            tag = self._data[i]
            if tag not in expected:
                raise errors.DecodeError(f"a {what} was expected at byte {i}, not tag {tag}")
            if tag == tags.SMALL_TUPLE:
                count = self._data[i + 1]
                self.position = i + 2
            else:
                count = int(_u32(self._data, i + 1)[0])
                self.position = i + 5
        except (IndexError, struct.error):
            raise truncated() from None
        if count > self._size - self.position:
            raise truncated()
        return count

    def _string_as_list(self) -> list[int] | None:
        """The list at the position if it came as STRING_EXT."""
        i = self.position
        if self._data[i : i + 1] != b"k":
            return None
        values: list[int] = self._read(_RAW, 1)[0]
        return values


def decode(data: bytes, options: Options) -> Any:
    """The value of a whole term. Raises `DecodeError`, also for bytes that follow it."""
    reader = Reader(data)
    value = reader.term(options)
    reader.end()
    return value


def inflated(data: bytes, position: int) -> bytes:
    """What a compressed term holds; its claimed size stands at `position` and zlib data after it."""
    import zlib

    if len(data) < position + 4:
        raise truncated()
    claimed = _u32(data, position)[0]
    if claimed > MAX_INFLATED_BYTES:
        raise errors.DecodeError(f"a compressed term of {claimed} bytes: {MAX_INFLATED_BYTES} is the most")
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(memoryview(data)[position + 4 :], claimed + 1)
    except zlib.error as cause:
        raise errors.DecodeError(f"a compressed term can't be inflated: {cause}") from None
    except MemoryError:
        raise errors.DecodeError("no room for a compressed term") from None
    if len(content) != claimed or not inflate.eof or inflate.unused_data:
        raise errors.DecodeError("a compressed term does not have the size that it claims")
    return content


def _options(flags: Any) -> Options:
    if type(flags) is not int:
        raise errors.DecodeError("the arguments do not begin with the flags of the call")
    try:
        return Options.from_flags(flags)
    except ValueError as cause:
        raise errors.DecodeError(str(cause)) from None
