"""What headed tuples stand for: tagged forms, opaques and references, and what user code says of its own.

A tuple that looks like a form and does not fit it is the user's own and stays a tuple. Which forms there
are, `forms` says; here is how their payloads are read.
"""

from __future__ import annotations

from struct import Struct

from erl import errors
from erl.codec import forms, tags
from erl.codec.extents import end_of_term
from erl.codec.walk import HEADS, Walk, check_depth
from erl.terms import Atom, OpaqueErlang, Pid
from erl.values import callout, plain
from erl.values.payloads import NOT_FIT
from erl.values.scope import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from erl.values.mappings import Decoders
    from erl.values.scope import Scope

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from

_SHORT = frozenset((tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM))
"""Tags whose length is one byte."""

_DTYPES = frozenset((tags.STRING, tags.BINARY, tags.LIST))
"""Tags of what can describe the elements of an array."""

_LATIN1_ATOMS = frozenset((tags.ATOM, tags.SMALL_ATOM))

_LEAF, _DICT, _SET, _BYTES, _ARRAY, _USER = range(6)


class _Forms:
    """What stands for something when it heads a 2-tuple, in a conversation."""

    __slots__ = ("_more", "atoms", "decoders", "strings")

    def __init__(self, decoders: Decoders) -> None:
        self.decoders = decoders
        self.strings: dict[bytes, tuple[int, Any]] = {}
        self.atoms: dict[bytes, tuple[int, Any]] = {}
        self._more: tuple[dict[bytes, tuple[int, Any]], dict[bytes, tuple[int, Any]]] | None = None
        """The same with Haystack's forms, once a call has asked for them: of strings, of atoms."""
        self.collect()

    def collect(self) -> None:
        """Find them anew; a registered decoder hides a form of the codec's."""
        self.strings.clear()
        self.atoms.clear()
        kinds: tuple[tuple[int, dict[bytes, Any]], ...] = (
            (_LEAF, forms.LEAVES),
            (_DICT, forms.DICTS),
            (_SET, forms.SETS),
            (_BYTES, forms.BYTES),
            (_ARRAY, forms.ARRAYS),
        )
        for kind, table in kinds:
            self.strings.update((name, (kind, builder)) for name, builder in table.items())
        self.atoms[b"bytes"] = (_BYTES, bytes)
        self.atoms.update((name, (_LEAF, builder)) for name, builder in forms.ATOMS.items())
        self.strings.update((name, (_USER, decoder)) for name, decoder in self.decoders.strings.items())
        self.atoms.update((name, (_USER, decoder)) for name, decoder in self.decoders.atoms.items())
        self._more = None

    def with_haystack(self) -> tuple[dict[bytes, tuple[int, Any]], dict[bytes, tuple[int, Any]]]:
        """The tables with Haystack's forms; a registered decoder hides one of those, too."""
        if self._more is None:
            from erl.codec import haystack

            atoms = {name: (_LEAF, builder) for name, builder in haystack.LEAVES.items()}
            self._more = self.strings, {**atoms, **self.atoms}
        return self._more


def _forms_of(scope: Scope) -> _Forms:
    found: _Forms | None = scope.caches.get("erl.codec.tagged")
    if found is None:
        found = scope.caches["erl.codec.tagged"] = _Forms(scope.decoders)
        scope.decoders.watch(found.collect)
    return found


class TaggedWalk(Walk):
    """A walk that knows the heads. With plain options it knows `$erlport.opaque` alone."""

    __slots__ = ()

    def _headed(self, i: int, count: int, depth: int) -> Any:
        string = self._data[i] == tags.STRING
        name, end = self._name(i)
        if count == 2:
            table = self._table(string)
            if name in table and self._tagged:
                return self._form(table[name], i, end, depth)
        elif string:
            if count == 4 and name == b"timedelta" and self._tagged:
                return self._flat_timedelta(i, depth)
        elif count == 3:
            if name == b"$erlport.opaque":
                return self._opaque(end, depth)
            if self._haystack:
                return self._triple(name, i, depth)
        elif name == b"$py.ref" and self._tagged:
            return self._reference(i, depth)
        elif name == b"matrix" and self._haystack:
            return self._matrix(i, end, depth)
        return tuple(self._items(i, count, depth))

    def _table(self, string: bool) -> dict[bytes, tuple[int, Any]]:
        """What stands for something when it heads a 2-tuple."""
        known: _Forms | None = self._known
        if known is None:
            known = self._known = _forms_of(current())
        if self._haystack:
            return known.with_haystack()[not string]
        return known.strings if string else known.atoms

    def _form(self, form: tuple[int, Any], i: int, payload: int, depth: int) -> Any:
        """`{Tag, Payload}`, the tag known and at `i`: its value, or the tuple where the payload does not
        fit.
        """
        kind, builder = form
        if kind == _DICT:
            made, content = self._dict(payload, builder, depth)
        elif kind == _SET:
            made, content = self._set(payload, builder, depth)
        elif kind == _ARRAY:
            made, content = self._array(payload, builder, depth)
        elif kind == _BYTES and self._data[payload] == tags.BINARY:
            return builder(self._block(payload + 5, _u32(self._data, payload + 1)[0]))
        else:
            content = self._items(payload, 1, depth)[0]
            made = self._built(form, i, content)
        if made is not NOT_FIT:
            return made
        return (self._head(i), content)

    def _name(self, i: int) -> tuple[bytes, int]:
        """The name of the string (in Latin-1) or atom (in UTF-8) at `i`, and the position after it."""
        data = self._data
        if data[i] in _SHORT:
            start = i + 2
            end = start + data[i + 1]
        else:
            start = i + 3
            end = start + _u16(data, i + 1)[0]
        name = data[start:end]
        if data[i] in _LATIN1_ATOMS and not name.isascii():
            name = name.decode("latin-1").encode()
        return name, end

    def _head(self, i: int) -> Any:
        """The value of the string or atom at `i`; the walk stays where it is."""
        after = self.position
        head = self._items(i, 1, 0)[0]
        self.position = after
        return head

    def _built(self, form: tuple[int, Any], i: int, content: Any) -> Any:
        """What a form whose tag is at `i` makes of a payload that was read like any term."""
        kind, builder = form
        if kind == _USER:
            what = f"the decoder of {self._name(i)[0].decode('utf-8', 'replace')!r}"
            return callout.run(errors.DecodeError, what, builder, content)
        if kind == _LEAF:
            return builder(content)
        if kind == _BYTES:
            if type(content) is str:
                content = content.encode()
            return builder(content) if type(content) is bytes else NOT_FIT
        if kind == _ARRAY:
            if type(content) is not tuple or len(content) != 3:
                return NOT_FIT
            dtype, shape, elements = content
            return builder(dtype, shape, elements.encode() if type(elements) is str else elements)
        if type(content) is not list:
            return NOT_FIT
        if kind == _SET:
            keys = values = content
        elif all(type(pair) is tuple and len(pair) == 2 for pair in content):
            keys, values = [pair[0] for pair in content], [pair[1] for pair in content]
        else:
            return NOT_FIT
        members = forms.dict_of(keys, values)
        return builder(members) if members is not None and len(members) == len(content) else NOT_FIT

    def _dict(self, i: int, builder: Any, depth: int) -> tuple[Any, Any]:
        """The payload of a dict's form: the value and nothing, or NOT_FIT and the payload.

        The 2-tuples of the list are pairs, whatever heads them: `{"date", X}` is a key and its value here.
        """
        data = self._data
        if data[i] == tags.NIL:
            self.position = i + 1
            return builder({}), None
        if data[i] != tags.LIST:
            return NOT_FIT, self._items(i, 1, depth)[0]
        count = _u32(data, i + 1)[0]
        check_depth(depth + 1 if count == 0 else depth + 2)
        starts: list[int] = []
        read = self._items(i + 5, 2 * count, depth + 2, starts, pairs=True)
        keys, values = read[0::2], read[1::2]
        end = self.position
        if len(keys) == count and data[end] == tags.NIL:
            content = forms.dict_of(keys, values)
            if content is not None and len(content) != count and not self._same_spelling(keys, starts):
                apart = forms.told_apart(keys, starts, data, self._raw)
                content = None if apart is None else forms.dict_of(apart, values)
            if content is not None:
                self.position = end + 1
                return builder(content), None
        items = [self._reconsidered(*pair) for pair in zip(starts, keys, values, strict=True)]
        items += self._items(end, count - len(keys), depth + 1)
        return NOT_FIT, self._list_tail(items, depth + 1)

    def _reconsidered(self, i: int, key: Any, value: Any) -> Any:
        """A 2-tuple at `i` that was read as a pair, after all no pair of a dict."""
        form = None
        if self._data[i] in HEADS:
            string = self._data[i] == tags.STRING
            form = self._table(string).get(self._name(i)[0])
            key = self._head(i)
        made = NOT_FIT if form is None else self._built(form, i, value)
        return (key, value) if made is NOT_FIT else made

    def _set(self, i: int, builder: Any, depth: int) -> tuple[Any, Any]:
        """The payload of a set's form: the value and nothing, or NOT_FIT and the payload."""
        data = self._data
        if data[i] != tags.LIST:
            payload = self._items(i, 1, depth)[0]
            if data[i] == tags.NIL or data[i] == tags.STRING:
                return builder(payload), None
            return NOT_FIT, payload
        count = _u32(data, i + 1)[0]
        check_depth(depth + 1)
        starts: list[int] = []
        elements = self._items(i + 5, count, depth + 1, starts)
        end = self.position
        if data[end] == tags.NIL:
            members = forms.dict_of(elements, elements)
            if members is not None and len(members) != count and not self._same_spelling(elements, starts):
                apart = forms.told_apart(elements, starts, data, self._raw)
                members = None if apart is None else forms.dict_of(apart, apart)
            if members is not None:
                self.position = end + 1
                return builder(members), None
        items = [
            list(element.encode("latin-1")) if data[start] == tags.STRING else element
            for start, element in zip(starts, elements, strict=True)
        ]
        return NOT_FIT, self._list_tail(items, depth + 1)

    def _triple(self, name: bytes, i: int, depth: int) -> Any:
        """`{Name, First, Second}`, where Haystack's forms are on."""
        from erl.codec import haystack

        parts = tuple(self._items(i, 3, depth))
        builder = haystack.TRIPLES.get(name)
        made = NOT_FIT if builder is None else builder(parts[1], parts[2])
        return parts if made is NOT_FIT else made

    def _array(self, i: int, builder: Any, depth: int) -> tuple[Any, Any]:
        """The payload `{Dtype, Shape, Binary}`: the value and nothing, or NOT_FIT and the payload."""
        data = self._data
        if data[i] != tags.SMALL_TUPLE or data[i + 1] != 3 or data[i + 2] not in _DTYPES:
            return NOT_FIT, self._items(i, 1, depth)[0]
        check_depth(depth + 1)
        dtype, shape = self._items(i + 2, 2, depth + 1)
        made, last = self._with_bytes(builder, dtype, shape, depth + 1)
        return made, None if made is not NOT_FIT else (dtype, shape, last)

    def _matrix(self, i: int, rows: int, depth: int) -> Any:
        """`{matrix, Rows, Cols, Binary}`."""
        from erl.values import arrays

        head = self._head(i)
        row_count, col_count = self._items(rows, 2, depth)
        made, last = self._with_bytes(arrays.matrix, row_count, col_count, depth)
        return made if made is not NOT_FIT else (head, row_count, col_count, last)

    def _with_bytes(self, builder: Any, first: Any, second: Any, depth: int) -> tuple[Any, Any]:
        """What a builder makes of two terms and the next one, which is read as bytes if it is a binary; that one as
        well where the builder makes nothing.
        """
        i = self.position
        if self._data[i] == tags.BINARY:
            content = self._block(i + 5, _u32(self._data, i + 1)[0])
            made = builder(first, second, content)
            if made is not NOT_FIT:
                return made, None
            return made, content.decode() if self._text else content
        return NOT_FIT, self._items(i, 1, depth)[0]

    def _raw(self, term: bytes) -> Any:
        """A whole term, binaries as `bytes`."""
        raise NotImplementedError

    def _same_spelling(self, keys: list[Any], starts: list[int]) -> bool:
        """Whether keys that are equal in Python are the same term as well (1 and true, say, are not)."""
        data = self._data
        first: dict[Any, int] = {}
        for key, start in zip(forms.hashables(keys), starts, strict=True):
            other = first.setdefault(key, start)
            if other != start:
                term, other_term = (data[at : end_of_term(data, at)] for at in (start, other))
                if term != other_term:
                    return False
        return True

    def _flat_timedelta(self, i: int, depth: int) -> Any:
        """`{"timedelta", Days, Seconds, Microseconds}`, as earlier bridges wrote it."""
        parts = tuple(self._items(i, 4, depth))
        made = forms.timedelta(parts[1:])
        return parts if made is NOT_FIT else made

    def _reference(self, i: int, depth: int) -> Any:
        """`{'$py.ref', Worker, Incarnation, Id}`: the object itself."""
        parts = tuple(self._items(i, 4, depth))
        _, worker, incarnation, number = parts
        if type(worker) is Pid and type(incarnation) is int and type(number) is int:
            return current().references.resolve(worker, incarnation, number)
        return parts

    def _opaque(self, payload: int, depth: int) -> Any:
        """`{'$erlport.opaque', Language, Bytes}`."""
        language = self._items(payload, 1, depth)[0]
        after = self.position
        if not self._tagged:
            return self._opaque_of_erlport(language, after, depth)
        if self._data[after] == tags.BINARY and type(language) is Atom and language in ("python", "erlang"):
            content = self._block(after + 5, _u32(self._data, after + 1)[0])
            if language == "erlang":
                return OpaqueErlang(content)
            return current().pickles.loads(content)
        return (Atom("$erlport.opaque"), language, self._items(after, 1, depth)[0])

    def _opaque_of_erlport(self, language: Any, after: int, depth: int) -> Any:
        if self._data[after] == tags.BINARY and type(language) is plain.Atom:
            content = self._block(after + 5, _u32(self._data, after + 1)[0])
            if language == b"python":
                return current().pickles.loads(content, unsigned=True)
            return plain.OpaqueObject(content, language)
        return (plain.OpaqueObject.marker, language, self._items(after, 1, depth)[0])
