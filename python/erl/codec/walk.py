"""The walk over a term: one pass from bytes to values, for every tag of the external term format.

It knows what the tags say and where a term must end. What a headed tuple stands for is asked of a subclass
(see `tagged`), from the inside outwards, so nesting costs no more than its size.
"""

from __future__ import annotations

import struct
from math import isfinite
from struct import Struct

from erl import errors
from erl.codec import atoms, forms, leaves, runs, tags
from erl.codec.options import MAX_DEPTH, Options
from erl.codec.tags import (
    ATOM,
    BINARY,
    INTEGER,
    NEW_FLOAT,
    NIL,
    SMALL_ATOM_UTF8,
    SMALL_INTEGER,
    SMALL_TUPLE,
    STRING,
)
from erl.terms import BitString, ImproperList
from erl.values import callout, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_i32 = Struct(">i").unpack_from
_f64 = Struct(">d").unpack_from

_FLOAT_EXT_BYTES: Final = 31
_FLOAT_EXT_CHARACTERS: Final = b"0123456789+-.eE"

_ENOUGH: Final = runs.MIN_LENGTH - 1

HEADS: Final = frozenset((STRING, ATOM, tags.ATOM_UTF8, SMALL_ATOM_UTF8, tags.SMALL_ATOM))
"""The tags of what can head a tuple that stands for something else."""


class Walk:
    """A term under way: its bytes, the position in them, and how they are read for now.

    `position` is where the next term begins. After a refusal it means nothing.
    """

    __slots__ = ("_atoms", "_data", "_haystack", "_known", "_none", "_size", "_tagged", "_text", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.position = position
        self._data = data
        self._size = len(data)
        self._text = True
        self._tagged = False
        self._haystack = False
        self._none = "undefined"
        self._atoms = atoms.OF_ERLPORT
        self._known: Any = None  # what a subclass remembers

    def _headed(self, i: int, count: int, depth: int) -> Any:
        """The value of a tuple of 2 to 4 elements from `i`, the first of which has a tag of `HEADS`."""
        raise NotImplementedError

    def _read(self, options: Options, count: int) -> list[Any]:
        """The next `count` terms; what the walk raises at the end of the data becomes a refusal."""
        self._text = not options.binaries_bytes
        self._tagged = options.tagged
        self._haystack = options.haystack
        self._none = options.none
        self._atoms = atoms.table(options.none, options.haystack) if self._tagged else atoms.OF_ERLPORT
        try:
            return self._items(self.position, count, 0)
        except (IndexError, struct.error):
            raise truncated() from None
        except UnicodeDecodeError as cause:
            raise errors.DecodeError(
                f"a binary is not UTF-8 (see its byte {cause.start}), so it can't be a str:"
                " write {bytes, B} for bytes"
            ) from None
        except RecursionError:
            raise errors.DecodeError("no room for the term: RecursionError") from None

    def _items(
        self, i: int, count: int, depth: int, starts: list[int] | None = None, pairs: bool = False
    ) -> list[Any]:
        """`count` terms that follow one another from `i` in a container at `depth`.

        With `starts`, they are elements of a set: `starts` gets the position of each, and one that is a
        STRING_EXT becomes a `str`. With `pairs` as well, they are keys and values by turns, each two of
        them in a 2-tuple of their own, `starts` gets the positions of the keys, the keys alone become
        `str`, and the walk ends early before an element that is no 2-tuple. A leaf may reach beyond the
        data while it is read; the next tag, or the check at the end, finds that out.
        """
        data = self._data
        if (count >> 1 if pairs else count) > self._size - i:
            raise truncated()
        text = self._text
        list_of: Any = list if self._tagged else plain.list_of
        latin1_atoms, utf8_atoms = self._atoms
        items: list[Any] = []
        append = items.append
        while count:
            if starts is not None:
                if not pairs:
                    starts.append(i)
                elif not count & 1:
                    if data[i] != SMALL_TUPLE or data[i + 1] != 2:
                        break
                    i += 2
                    starts.append(i)
            count -= 1
            tag = data[i]
            if tag == SMALL_INTEGER:
                if count >= _ENOUGH and starts is None and (run := runs.length(data, i, 2, count + 1)):
                    items += data[i + 1 : i + 2 * run : 2]
                    i += 2 * run
                    count -= run - 1
                    continue
                append(data[i + 1])
                i += 2
            elif tag == SMALL_ATOM_UTF8:
                end = i + 2 + data[i + 1]
                name = data[i + 2 : end]
                append(utf8_atoms[name] if name in utf8_atoms else self._new_atom(name, tag, end))
                i = end
            elif tag == ATOM:
                end = i + 3 + _u16(data, i + 1)[0]
                name = data[i + 3 : end]
                append(latin1_atoms[name] if name in latin1_atoms else self._new_atom(name, tag, end))
                i = end
            elif tag == BINARY:
                end = i + 5 + _u32(data, i + 1)[0]
                append(data[i + 5 : end].decode() if text else data[i + 5 : end])
                i = end
            elif tag == SMALL_TUPLE:
                append(self._tuple(i + 2, data[i + 1], depth + 1))
                i = self.position
            elif tag == STRING:
                end = i + 3 + _u16(data, i + 1)[0]
                if starts is None or (pairs and not count & 1):
                    append(list_of(data[i + 3 : end]))
                else:
                    append(data[i + 3 : end].decode("latin-1"))
                i = end
            elif tag == INTEGER:
                if count >= _ENOUGH and starts is None and (run := runs.length(data, i, 5, count + 1)):
                    items += runs.integers(data, i, run)
                    i += 5 * run
                    count -= run - 1
                    continue
                append(_i32(data, i + 1)[0])
                i += 5
            elif tag == NEW_FLOAT:
                if count >= _ENOUGH and starts is None and (run := runs.length(data, i, 9, count + 1)):
                    items += runs.floats(data, i, run)
                    i += 9 * run
                    count -= run - 1
                    continue
                number = _f64(data, i + 1)[0]
                if not isfinite(number):
                    raise errors.DecodeError(f"the float at byte {i} is not finite")
                append(number)
                i += 9
            elif tag == NIL:
                append(list_of(()))
                i += 1
            else:
                append(self._other(tag, i, depth + 1))
                i = self.position
        if i > self._size:
            raise truncated()
        self.position = i
        return items

    def _other(self, tag: int, i: int, depth: int) -> Any:
        """A term of one of the rarer tags; leaves the position after it."""
        data = self._data
        if tag == tags.LIST:
            check_depth(depth)
            items = self._items(i + 5, _u32(data, i + 1)[0], depth)
            return self._list_tail(items, depth)
        if tag == tags.MAP:
            return self._map(i + 5, _u32(data, i + 1)[0], depth)
        if tag == tags.LARGE_TUPLE:
            return self._tuple(i + 5, _u32(data, i + 1)[0], depth)
        if tag in (tags.SMALL_BIG, tags.LARGE_BIG):
            start = i + 3 if tag == tags.SMALL_BIG else i + 6
            digits = self._block(start, data[i + 1] if tag == tags.SMALL_BIG else _u32(data, i + 1)[0])
            magnitude = int.from_bytes(digits, "little")
            return -magnitude if data[start - 1] else magnitude
        if tag in (tags.SMALL_ATOM, tags.ATOM_UTF8):
            start = i + 2 if tag == tags.SMALL_ATOM else i + 3
            name = self._block(start, data[i + 1] if tag == tags.SMALL_ATOM else _u16(data, i + 1)[0])
            return self._new_atom(name, tag, self.position)
        if tag == tags.FLOAT:
            return _float_of_text(self._block(i + 1, _FLOAT_EXT_BYTES))
        if tag == tags.BIT_BINARY:
            return self._bits(self._block(i + 6, _u32(data, i + 1)[0]), data[i + 5])
        if tag in leaves.ALL:
            leaf, self.position = leaves.read(data, i)
            return leaf
        if tag == tags.COMPRESSED:
            raise errors.DecodeError(f"compressed data inside a term, at byte {i}")
        raise errors.DecodeError(f"unknown tag {tag} at byte {i}")

    def _block(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`, which must be there; leaves the position after them."""
        self.position = start + size
        if self.position > self._size:
            raise truncated()
        return self._data[start : self.position]

    def _bits(self, content: bytes, bits: int) -> Any:
        if (bits == 8 and content) or (bits == 0 and not content):
            return content.decode() if self._text else content
        if not content or not 1 <= bits <= 7:
            raise errors.DecodeError(f"a bit string of {len(content)} bytes with {bits} bits in the last")
        return BitString(content, bits)

    def _new_atom(self, name: bytes, tag: int, end: int) -> Any:
        if end > self._size:
            raise truncated()
        latin1 = tag in (ATOM, tags.SMALL_ATOM)
        return atoms.meet(
            name, latin1=latin1, none=self._none, floats=self._haystack, erlport=not self._tagged
        )

    def _list_tail(self, items: list[Any], depth: int) -> Any:
        """The list of these elements and what follows them, to its end. (A tail may be a list again.)"""
        data = self._data
        while True:
            i = self.position
            tag = data[i]
            if tag == tags.NIL:
                self.position = i + 1
                return items if self._tagged else plain.list_of(items)
            if tag == tags.LIST:
                items += self._items(i + 5, _u32(data, i + 1)[0], depth)
            elif tag == tags.STRING:
                items += self._items(i, 1, depth)[0]
                return items if self._tagged else plain.list_of(items)
            else:
                tail = self._items(i, 1, depth)[0]
                if not items:
                    return tail
                if isinstance(tail, list):
                    raise errors.DecodeError("the tail of an improper list is a Python list")
                return ImproperList(items, tail) if self._tagged else plain.ImproperList(items, tail)

    def _map(self, i: int, count: int, depth: int) -> dict[Any, Any]:
        check_depth(depth)
        items = self._items(i, 2 * count, depth)
        content = forms.dict_of(items[0::2], items[1::2])
        if content is None:
            raise errors.DecodeError("a key of a map can't be hashed in Python (it holds a list or a map)")
        if len(content) != count:
            raise equal_keys(items[0::2])
        return content if self._tagged else plain.map_of(content)

    def _tuple(self, i: int, count: int, depth: int) -> Any:
        """A tuple whose elements begin at `i`, or what it stands for."""
        if depth > MAX_DEPTH:
            check_depth(depth)
        if 2 <= count <= 4 and self._data[i] in HEADS:
            return self._headed(i, count, depth)
        return tuple(self._items(i, count, depth))


def truncated() -> errors.DecodeError:
    """What to raise where the bytes end too early."""
    return errors.DecodeError("truncated: the term ends beyond the frame")


def check_depth(depth: int) -> None:
    """DecodeError for a container nested too deep."""
    if depth > MAX_DEPTH:
        raise errors.DecodeError(f"nested more than {MAX_DEPTH} deep")


def _float_of_text(field: bytes) -> float:
    """FLOAT_EXT: a number printed with "%.20e", padded with zeros."""
    digits = field.rstrip(b"\0")
    if digits and not digits.strip(_FLOAT_EXT_CHARACTERS):
        try:
            number = float(digits)
        except ValueError:
            number = float("nan")
        if isfinite(number):
            return number
    raise errors.DecodeError("a FLOAT_EXT that is not a number")


def equal_keys(keys: list[Any]) -> errors.DecodeError:
    """What to raise for the first two keys of a map that a dict can't tell apart."""
    first: dict[Any, Any] = {}
    for key in forms.hashables(keys):
        if key in first:
            both = f"{callout.shown(first[key])} and {callout.shown(key)}"
            return errors.DecodeError(f"the keys {both} of a map are equal in Python")
        first[key] = key
    return errors.DecodeError("two keys of a map are equal in Python")
