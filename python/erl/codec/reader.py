"""The external term format, read: one pass from bytes to values, under the options of a call.

Every refusal is a `DecodeError`. Bytes are looked at once; what a tagged form stands for is decided from the inside
outwards, so nesting costs no more than its size. (`StaleReferenceError` comes out too: the bytes are right then, and
the object they name is gone.)
"""

from __future__ import annotations

import struct
from math import isfinite
from struct import Struct
from typing import Any, Final

from erl import callout, decoders, errors, opaque, references
from erl.codec import forms, leaves, runs, tags
from erl.codec.extents import end_of_term
from erl.codec.options import BINARIES_BYTES, MAX_DEPTH, MAX_INFLATED_BYTES, Options
from erl.terms import MAX_ATOM_CHARACTERS, Atom, BitString, ImproperList, OpaqueErlang, Pid

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_i32 = Struct(">i").unpack_from
_f64 = Struct(">d").unpack_from

_RAW: Final = Options.from_flags(BINARIES_BYTES)

_MAX_CACHED_ATOMS: Final = 8192
_UNSEEN: Final = object()
_utf8_atoms: dict[bytes, Any] = {}
_latin1_atoms: dict[bytes, Any] = {}
_CONSTANTS: Final[dict[str, Any]] = {"undefined": None, "true": True, "false": False}

_SHORT_NAMES: Final = frozenset((tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM))
_LONG_NAMES: Final = frozenset((tags.STRING, tags.ATOM, tags.ATOM_UTF8))
_HEADS: Final = _SHORT_NAMES | _LONG_NAMES
_FLOAT_EXT_BYTES: Final = 31
_FLOAT_EXT_CHARACTERS: Final = b"0123456789+-.eE"

_SAFE_TO_HASH: Final = frozenset((str, int, float, bool, type(None), Atom, bytes, list))

_LEAF, _DICT, _SET, _BYTES, _USER = range(5)
_Forms = dict[bytes, tuple[int, Any]]
_string_forms: _Forms = {}
_atom_forms: _Forms = {}
_NO_FORMS: Final[_Forms] = {}


def _collect_forms() -> None:
    """What stands for something when it heads a 2-tuple; a registered decoder hides a form of ours."""
    _string_forms.clear()
    _atom_forms.clear()
    for kind, table in ((_LEAF, forms.LEAVES), (_DICT, forms.DICTS), (_SET, forms.SETS), (_BYTES, forms.BYTES)):
        _string_forms.update((name, (kind, builder)) for name, builder in table.items())
    _atom_forms[b"bytes"] = (_BYTES, bytes)
    _string_forms.update((name, (_USER, decoder)) for name, decoder in decoders.strings().items())
    _atom_forms.update((name, (_USER, decoder)) for name, decoder in decoders.atoms().items())


_collect_forms()
decoders.watch(_collect_forms)


class Reader:
    """Reads a message: a term piece by piece, so that its options can come from its own front.

    `data` is a term with its version byte (131), plain or compressed, and begins at `offset`.
    """

    __slots__ = ("_atoms", "_data", "_size", "_strings", "_tagged", "_text", "position")
    position: int
    """Where the next piece begins (in the inflated data, where the term was compressed)."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        if data[offset : offset + 1] != b"\x83":
            raise errors.DecodeError("not a term: the version byte 131 is missing")
        self.position = offset + 1
        if data[offset + 1 : offset + 2] == b"P":
            data = inflated(data, offset + 2)
            self.position = 0
        self._data = data
        self._size = len(data)
        self._text = True
        self._tagged = False
        self._strings = self._atoms = _NO_FORMS

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
        """A list whose first element is the flags of the call: the options, and the other elements under them."""
        values = self._string_as_list()
        if values is not None:
            return _options(values[0] if values else None), values[1:]
        count = self.list_header()
        options = _options(self._read(_RAW, 1)[0] if count else None)
        rest = self._read(options, count - 1)
        self.list_end()
        return options, rest

    def end(self) -> None:
        """DecodeError if bytes remain."""
        if self.position != self._size:
            raise errors.DecodeError(f"{self._size - self.position} bytes follow the term")

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
            raise _truncated() from None
        if count > self._size - self.position:
            raise _truncated()
        return count

    def _string_as_list(self) -> list[int] | None:
        """The list at the position if it came as STRING_EXT."""
        i = self.position
        if self._data[i : i + 1] != b"k":
            return None
        values: list[int] = self._read(_RAW, 1)[0]
        return values

    def _read(self, options: Options, count: int) -> list[Any]:
        """The next terms; turns what the walk raises at the end of the data into refusals."""
        self._text = not options.binaries_bytes
        self._tagged = options.tagged
        if options.tagged:
            self._strings, self._atoms = _string_forms, _atom_forms
        else:
            self._strings = self._atoms = _NO_FORMS
        try:
            return self._items(self.position, count, 0)
        except (IndexError, struct.error):
            raise _truncated() from None
        except UnicodeDecodeError as cause:
            raise errors.DecodeError(
                f"a binary is not UTF-8 (byte {cause.start} of it), so it is no str: write {{bytes, B}} for bytes"
            ) from None
        except (RecursionError, MemoryError) as cause:
            raise errors.DecodeError(f"no room for the term: {type(cause).__name__}") from None

    def _items(self, i: int, count: int, depth: int, starts: list[int] | None = None) -> list[Any]:
        """`count` terms that follow one another from `i` in a container at `depth`.

        Appends to `starts` where each begins, if asked to.
        A leaf may reach beyond the data while it is read; the next tag, or the check at the end, finds that out.
        """
        data = self._data
        if count > self._size - i:
            raise _truncated()
        text = self._text
        items: list[Any] = []
        append = items.append
        while count:
            if starts is not None:
                starts.append(i)
            count -= 1
            tag = data[i]
            if tag == tags.SMALL_INTEGER:
                if count >= runs.MIN_LENGTH and starts is None and (run := runs.length(data, i, 2, count + 1)):
                    items += data[i + 1 : i + 2 * run : 2]
                    i += 2 * run
                    count -= run - 1
                    continue
                append(data[i + 1])
                i += 2
            elif tag == tags.SMALL_ATOM_UTF8 or tag == tags.ATOM:
                if tag == tags.ATOM:
                    end = i + 3 + _u16(data, i + 1)[0]
                    name = data[i + 3 : end]
                    atom = _latin1_atoms.get(name, _UNSEEN)
                else:
                    end = i + 2 + data[i + 1]
                    name = data[i + 2 : end]
                    atom = _utf8_atoms.get(name, _UNSEEN)
                append(self._new_atom(name, tag, end) if atom is _UNSEEN else atom)
                i = end
            elif tag == tags.BINARY:
                end = i + 5 + _u32(data, i + 1)[0]
                append(data[i + 5 : end].decode() if text else data[i + 5 : end])
                i = end
            elif tag == tags.STRING:
                end = i + 3 + _u16(data, i + 1)[0]
                append(list(data[i + 3 : end]))
                i = end
            elif tag == tags.INTEGER:
                if count >= runs.MIN_LENGTH and starts is None and (run := runs.length(data, i, 5, count + 1)):
                    items += runs.integers(data, i, run)
                    i += 5 * run
                    count -= run - 1
                    continue
                append(_i32(data, i + 1)[0])
                i += 5
            elif tag == tags.NEW_FLOAT:
                if count >= runs.MIN_LENGTH and starts is None and (run := runs.length(data, i, 9, count + 1)):
                    items += runs.floats(data, i, run)
                    i += 9 * run
                    count -= run - 1
                    continue
                number = _f64(data, i + 1)[0]
                if not isfinite(number):
                    raise errors.DecodeError(f"the float at byte {i} is not finite")
                append(number)
                i += 9
            elif tag == tags.NIL:
                append([])
                i += 1
            elif tag == tags.SMALL_TUPLE:
                append(self._tuple(i + 2, data[i + 1], depth + 1))
                i = self.position
            else:
                append(self._other(tag, i, depth + 1))
                i = self.position
        if i > self._size:
            raise _truncated()
        self.position = i
        return items

    def _other(self, tag: int, i: int, depth: int) -> Any:
        """A term of one of the rarer tags; leaves the position after it."""
        data = self._data
        if tag == tags.LIST:
            _check_depth(depth)
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
            atom = (_utf8_atoms if tag == tags.ATOM_UTF8 else _latin1_atoms).get(name, _UNSEEN)
            return self._new_atom(name, tag, self.position) if atom is _UNSEEN else atom
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
            raise _truncated()
        return self._data[start : self.position]

    def _bits(self, content: bytes, bits: int) -> Any:
        if bits == 8 and content or bits == 0 and not content:
            return content.decode() if self._text else content
        if not content or not 1 <= bits <= 7:
            raise errors.DecodeError(f"a bit string of {len(content)} bytes with {bits} bits in the last")
        return BitString(content, bits)

    def _new_atom(self, name: bytes, tag: int, end: int) -> Any:
        """An atom not met before (or forgotten)."""
        if end > self._size:
            raise _truncated()
        latin1 = tag in (tags.ATOM, tags.SMALL_ATOM)
        try:
            string = name.decode("latin-1" if latin1 else "utf-8")
        except UnicodeDecodeError:
            raise errors.DecodeError("an atom is not UTF-8") from None
        if len(string) > MAX_ATOM_CHARACTERS:
            raise errors.DecodeError(f"an atom of {len(string)} characters: {MAX_ATOM_CHARACTERS} is the most")
        cache = _latin1_atoms if latin1 else _utf8_atoms
        if len(cache) >= _MAX_CACHED_ATOMS:
            cache.clear()
        atom = cache[name] = _CONSTANTS[string] if string in _CONSTANTS else Atom(string)
        return atom

    def _list_tail(self, items: list[Any], depth: int) -> Any:
        """The list of these elements and what follows them, to its end. (A tail may be a list again.)"""
        data = self._data
        while True:
            i = self.position
            tag = data[i]
            if tag == tags.NIL:
                self.position = i + 1
                return items
            if tag == tags.LIST:
                items += self._items(i + 5, _u32(data, i + 1)[0], depth)
            elif tag == tags.STRING:
                items += self._items(i, 1, depth)[0]
                return items
            else:
                tail = self._items(i, 1, depth)[0]
                if not items:
                    return tail
                if isinstance(tail, list):
                    raise errors.DecodeError("the tail of an improper list is a Python list")
                return ImproperList(items, tail)

    def _map(self, i: int, count: int, depth: int) -> dict[Any, Any]:
        _check_depth(depth)
        items = self._items(i, 2 * count, depth)
        content = _dict_of(items[0::2], items[1::2])
        if content is None:
            raise errors.DecodeError("a key of a map can't be hashed in Python (it holds a list or a map)")
        if len(content) != count:
            raise _equal_keys(items[0::2])
        return content

    def _tuple(self, i: int, count: int, depth: int) -> Any:
        """A tuple whose elements begin at `i`, or what it stands for."""
        _check_depth(depth)
        if 2 <= count <= 4 and self._data[i] in _HEADS:
            return self._headed(i, count, depth)
        return tuple(self._items(i, count, depth))

    def _headed(self, i: int, count: int, depth: int) -> Any:
        """A tuple of 2 to 4 elements that begins with a string or an atom."""
        name, payload = self._name(i)
        string = self._data[i] == tags.STRING
        if count == 2:
            form = (self._strings if string else self._atoms).get(name)
            if form is not None:
                return self._form(form, i, payload, depth)
        elif string:
            if count == 4 and name == b"timedelta" and self._tagged:
                parts = tuple(self._items(i, count, depth))
                made = forms.timedelta(parts[1:])
                return parts if made is forms.NOT_FIT else made
        elif count == 3 and name == b"$erlport.opaque":
            return self._opaque(i, payload, depth)
        elif count == 4 and name == b"$py.ref" and self._tagged:
            parts = tuple(self._items(i, count, depth))
            _, worker, incarnation, number = parts
            if type(worker) is Pid and type(incarnation) is int and type(number) is int:
                return references.resolve(worker, incarnation, number)
            return parts
        return tuple(self._items(i, count, depth))

    def _name(self, i: int) -> tuple[bytes, int]:
        """The characters of the string or atom at `i`, and the position after it."""
        data = self._data
        if data[i] in _SHORT_NAMES:
            start = i + 2
            end = start + data[i + 1]
        else:
            start = i + 3
            end = start + _u16(data, i + 1)[0]
        return data[start:end], end

    def _form(self, form: tuple[int, Any], i: int, payload: int, depth: int) -> Any:
        """`{Tag, Payload}` with a known tag at `i`: its value, or the tuple where the payload does not fit."""
        kind, builder = form
        if kind == _DICT:
            made, content = self._dict(payload, builder, depth)
        elif kind == _SET:
            made, content = self._set(payload, builder, depth)
        elif kind == _BYTES and self._data[payload] == tags.BINARY:
            return builder(self._block(payload + 5, _u32(self._data, payload + 1)[0]))
        else:
            content = self._items(payload, 1, depth)[0]
            made = self._built(form, i, content)
        if made is not forms.NOT_FIT:
            return made
        after = self.position
        head = self._items(i, 1, depth)[0]
        self.position = after
        return (head, content)

    def _built(self, form: tuple[int, Any], i: int, content: Any) -> Any:
        """What a form with the tag at `i` makes of a payload that was read like any term."""
        kind, builder = form
        if kind == _USER:
            tag = self._name(i)[0].decode("latin-1" if self._data[i] == tags.STRING else "utf-8", "replace")
            return callout.run(errors.DecodeError, f"the decoder of {tag!r}", builder, content)
        if kind == _LEAF:
            return builder(content)
        if type(content) is not list:
            if kind == _BYTES and type(content) is str:
                return builder(content.encode())
            return builder(content) if kind == _BYTES and type(content) is bytes else forms.NOT_FIT
        if kind == _DICT:
            if any(type(pair) is not tuple or len(pair) != 2 for pair in content):
                return forms.NOT_FIT
            mapping = _dict_of([pair[0] for pair in content], [pair[1] for pair in content])
            fits = mapping is not None and len(mapping) == len(content)
            return builder(mapping) if fits else forms.NOT_FIT
        if kind == _SET:
            members = _dict_of(content, content)
            fits = members is not None and len(members) == len(content)
            return builder(members) if fits else forms.NOT_FIT
        return forms.NOT_FIT

    def _dict(self, i: int, builder: Any, depth: int) -> tuple[Any, Any]:
        """The payload of a dict's form: the value and nothing, or NOT_FIT and the payload.

        The 2-tuples of the list are pairs, whatever heads them: `{"date", X}` is a key and its value here.
        """
        data = self._data
        if data[i] == tags.NIL:
            self.position = i + 1
            return builder({}), None
        if data[i] != tags.LIST:
            return forms.NOT_FIT, self._items(i, 1, depth)[0]
        count = _u32(data, i + 1)[0]
        i += 5
        if count > self._size - i:
            raise _truncated()
        _check_depth(depth + 2)
        starts: list[int] = []
        pairs: list[list[Any]] = []
        for _ in range(count):
            if data[i] != tags.SMALL_TUPLE or data[i + 1] != 2:
                break
            starts.append(i + 2)
            pairs.append(self._items(i + 2, 2, depth + 2))
            i = self.position
        if len(pairs) == count and data[i] == tags.NIL:
            keys = [pair[0] for pair in pairs]
            content = _dict_of(keys, [pair[1] for pair in pairs])
            if content is not None and (len(content) == count or self._same_spelling(keys, starts)):
                self.position = i + 1
                return builder(content), None
        items = [self._reconsidered(start, pair) for start, pair in zip(starts, pairs)]
        items += self._items(i, count - len(pairs), depth + 1)
        return forms.NOT_FIT, self._list_tail(items, depth + 1)

    def _reconsidered(self, i: int, pair: list[Any]) -> Any:
        """A 2-tuple at `i` that was read as a pair, after all no pair of a dict."""
        if self._data[i] not in _HEADS:
            return tuple(pair)
        form = (self._strings if self._data[i] == tags.STRING else self._atoms).get(self._name(i)[0])
        made = forms.NOT_FIT if form is None else self._built(form, i, pair[1])
        return tuple(pair) if made is forms.NOT_FIT else made

    def _set(self, i: int, builder: Any, depth: int) -> tuple[Any, Any]:
        """The payload of a set's form: the value and nothing, or NOT_FIT and the payload."""
        if self._data[i] != tags.LIST:
            items = self._items(i, 1, depth)[0]
            starts = None
        else:
            _check_depth(depth + 1)
            starts = []
            items = self._items(i + 5, _u32(self._data, i + 1)[0], depth + 1, starts)
            items = self._list_tail(items, depth + 1)
        if type(items) is not list:
            return forms.NOT_FIT, items
        members = _dict_of(items, items)
        if members is None:
            return forms.NOT_FIT, items
        if len(members) != len(items) and not (starts is None or self._same_spelling(items, starts)):
            return forms.NOT_FIT, items
        return builder(members), None

    def _same_spelling(self, keys: list[Any], starts: list[int]) -> bool:
        """Whether keys that are equal in Python are the same term as well (1 and true, say, are not)."""
        if len(keys) != len(starts):
            return False
        data = self._data
        first: dict[Any, int] = {}
        for key, start in zip(forms.hashables(keys), starts):
            other = first.setdefault(key, start)
            if data[start : end_of_term(data, start)] != data[other : end_of_term(data, other)] and other != start:
                return False
        return True

    def _opaque(self, i: int, payload: int, depth: int) -> Any:
        """`{'$erlport.opaque', Language, Bytes}`."""
        language = self._items(payload, 1, depth)[0]
        after = self.position
        if self._data[after] == tags.BINARY and type(language) is Atom and language in ("python", "erlang"):
            content = self._block(after + 5, _u32(self._data, after + 1)[0])
            if language == "erlang":
                return OpaqueErlang(content)
            return opaque.loads(content, unsigned=not self._tagged)
        return (Atom("$erlport.opaque"), language, self._items(after, 1, depth)[0])


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
        raise _truncated()
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


def _truncated() -> errors.DecodeError:
    return errors.DecodeError("truncated: the term ends beyond the frame")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise errors.DecodeError(f"nested more than {MAX_DEPTH} deep")


def _options(flags: Any) -> Options:
    if type(flags) is not int:
        raise errors.DecodeError("the arguments do not begin with the flags of the call")
    try:
        return Options.from_flags(flags)
    except ValueError as cause:
        raise errors.DecodeError(str(cause)) from None


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


def _dict_of(keys: list[Any], values: list[Any]) -> dict[Any, Any] | None:
    """A dict, its keys made hashable; None where one can't be. Keys equal in Python fall together."""
    if _SAFE_TO_HASH.issuperset(map(type, keys)):
        return _zipped(keys, values)
    return callout.run(errors.DecodeError, "hashing the keys", _zipped, keys, values)


def _zipped(keys: list[Any], values: list[Any]) -> dict[Any, Any] | None:
    try:
        return dict(zip(forms.hashables(keys), values))
    except TypeError:
        return None


def _equal_keys(keys: list[Any]) -> errors.DecodeError:
    """Names the first two keys of a map that a dict can't tell apart."""
    first: dict[Any, Any] = {}
    for key in forms.hashables(keys):
        if key in first:
            return errors.DecodeError(
                f"the keys {callout.shown(first[key])} and {callout.shown(key)} of a map are equal in Python"
            )
        first[key] = key
    return errors.DecodeError("two keys of a map are equal in Python")
