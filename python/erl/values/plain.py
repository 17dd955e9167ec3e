"""ErlPort's types: what Erlang's terms are where ErlPort's mapping holds (the flag `PLAIN`), and what its API makes.

An atom is bytes, a list is a `List`, a map a `Map`. Those and an `ImproperList` can't be changed, so that they can be
keys; lists and dicts that one is made of become such themselves.
"""

from __future__ import annotations

from sys import getrefcount

from erl import terms
from erl.values.scope import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Final, NoReturn

    _List = list[Any]
    _Dict = dict[Any, Any]
else:
    _List = list
    _Dict = dict

_FIRST_LIMIT: Final = 8192
_probe: Final = {b"": object()}
_UNUSED: Final = getrefcount(_probe[b""])
"""What is counted, in such an expression, for an object that only a table holds."""


class MutationError(Exception):
    """Raised when a `List`, a `Map` or an `ImproperList` is to be changed."""


def _refuse(self: object, *_args: object, **_keywords: object) -> NoReturn:
    kind = type(self).__name__
    base = "dict" if isinstance(self, dict) else "list"
    raise MutationError(f"a {kind} can't be changed: make a {base} of it first")


def frozen(value: Any) -> Any:
    """A list as a `List`, a dict as a `Map`, anything else as it is."""
    if isinstance(value, dict):
        return value if isinstance(value, Map) else Map(value)
    if isinstance(value, list):
        return value if isinstance(value, (List, terms.ImproperList)) else List(value)
    return value


class _AtomKind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return super().__instancecheck__(value) or isinstance(value, terms.Atom)


class Atom(bytes, metaclass=_AtomKind):
    """ErlPort's atom: `bytes` in Latin-1 that encode as an atom. Equal to them, and to an `erl.Atom` of that text.

    Made from a `str`, too; where that is not Latin-1 an `erl.Atom` is made. For `isinstance` an `erl.Atom` is one of
    these. There is one object for each name. Raises ValueError for more than 255 characters, TypeError for anything
    else.
    """

    __slots__ = ()
    _interned: ClassVar[dict[bytes, Atom]] = {}
    _limit: ClassVar[int] = _FIRST_LIMIT

    def __new__(cls, name: Any) -> Any:
        if isinstance(name, str):
            try:
                name = name.encode("latin-1")
            except UnicodeEncodeError:
                return terms.Atom(name)
        if not isinstance(name, bytes):
            raise TypeError(f"an atom is made of bytes or a str, not of a {type(name).__name__}")
        known = cls._interned.get(name)
        if known is not None:
            return known
        if len(name) > terms.MAX_ATOM_CHARACTERS:
            raise ValueError(f"an atom of {len(name)} characters: {terms.MAX_ATOM_CHARACTERS} is the most")
        if len(cls._interned) >= cls._limit:
            cls._forget_unused()
        return cls._interned.setdefault(bytes(name), super().__new__(cls, name))

    @classmethod
    def _forget_unused(cls) -> None:
        """What data has brought goes again; an atom that somebody holds stays the one of its name."""
        interned = cls._interned
        for name in list(interned):
            if name in interned and getrefcount(interned[name]) <= _UNUSED:
                interned.pop(name, None)
        cls._limit = max(_FIRST_LIMIT, 2 * len(interned))

    def __eq__(self, other: object) -> bool:
        return bytes.__eq__(self, _latin1(other))

    def __ne__(self, other: object) -> bool:
        return bytes.__ne__(self, _latin1(other))

    # CPython hashes a text of Latin-1 as its bytes: an atom of either type is the same key of a dict.
    __hash__ = bytes.__hash__

    def __repr__(self) -> str:
        return f"Atom({bytes.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Atom, (bytes(self),)


def _latin1(value: object) -> object:
    if isinstance(value, str):
        return value.encode("latin-1", "ignore") if value.isascii() or max(value) <= "\xff" else None
    return value


class List(_List):
    """A list that also reads as text. Equal to a list of the same elements; `+=` makes a list of its own."""

    __slots__ = ()

    def __new__(cls, elements: Any = ()) -> List:
        made = super().__new__(cls)
        list.extend(made, map(frozen, elements))
        return made

    def __init__(self, elements: Any = ()) -> None:
        pass

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __setitem__ = __delitem__ = _refuse

    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        made = list(self)
        made += other
        return made

    def __imul__(self, times: Any) -> Any:  # type: ignore[misc]
        return list(self) * times

    def to_string(self) -> str:
        """The text whose code points the elements are. Raises TypeError or ValueError where they are none."""
        return "".join(map(chr, self))

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"List({list.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


class Map(_Dict):
    """A dict that can be a key of another one. Equal to a dict of the same content; `|=` makes a dict of its own."""

    __slots__ = ()

    def __new__(cls, *args: Any, **keywords: Any) -> Map:
        made = super().__new__(cls)
        dict.update(made, [(frozen(key), frozen(value)) for key, value in dict(*args, **keywords).items()])
        return made

    def __init__(self, *args: Any, **keywords: Any) -> None:
        pass

    clear = pop = popitem = setdefault = update = _refuse
    __setitem__ = __delitem__ = _refuse

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        made = dict(self)
        made |= other
        return made

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"Map({dict.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class ImproperList(terms.ImproperList):
    """A list that ends in something else than the empty list.

    Raises TypeError for what is no list, or a tail that is one, ValueError for no elements.
    """

    __slots__ = ()

    def __new__(cls, elements: Any, tail: Any) -> ImproperList:
        if not isinstance(elements, list):
            raise TypeError(f"an improper list is made of a list, not of a {type(elements).__name__}")
        if not elements:
            raise ValueError("an improper list has at least one element")
        if isinstance(tail, list):
            raise TypeError("the tail of an improper list is not a list: join the two")
        made = super().__new__(cls)
        list.extend(made, map(frozen, elements))
        object.__setattr__(made, "tail", tail)
        return made

    def __init__(self, elements: Any, tail: Any) -> None:
        pass

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = __setattr__ = __delattr__ = _refuse

    def __eq__(self, other: object) -> bool:
        return terms.ImproperList.__eq__(self, other)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash((tuple(self), self.tail))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self), self.tail)


_HANDLES: Final = (terms.OpaqueErlang, terms.Pid, terms.Port, terms.Reference, terms.Fun)


class _OpaqueKind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return super().__instancecheck__(value) or isinstance(value, _HANDLES)


class OpaqueObject(metaclass=_OpaqueKind):
    """What only another language can look into: `data` are its bytes, `language` says which one it is.

    Of Erlang's, `data` is the term without the version byte. For `isinstance` the pids, references and the like of
    `erl.terms` are such objects, too. Raises TypeError for data that are not bytes or a language that is no atom.
    """

    __slots__ = ("data", "language")

    marker = Atom(b"$erlport.opaque")

    def __init__(self, data: bytes, language: Any) -> None:
        if type(data) is not bytes:
            raise TypeError(f"the data of an opaque object are bytes, not a {type(data).__name__}")
        if not isinstance(language, Atom):
            raise TypeError(f"the language of an opaque object is an atom, not a {type(language).__name__}")
        self.data = data
        self.language = Atom(language)

    @classmethod
    def decode(cls, data: bytes, language: Any) -> Any:
        """The object itself if Python can read it, else one of these. Raises `errors.DecodeError`."""
        if language != b"python":
            return cls(data, language)
        scope = current()
        unsigned = scope.bridge is None or not scope.bridge.options.tagged
        return scope.pickles.loads(data, unsigned=unsigned)

    def encode(self) -> bytes:
        """The term, without the version byte; of Erlang's, the data as they are."""
        if self.language == b"erlang":
            return self.data
        head = b"".join(b"d" + len(atom).to_bytes(2, "big") + atom for atom in (self.marker, self.language))
        return b"h\x03" + head + b"m" + len(self.data).to_bytes(4, "big") + self.data

    def __eq__(self, other: object) -> bool:
        if type(other) is OpaqueObject:
            return self.language == other.language and self.data == other.data
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.language, self.data))

    def __repr__(self) -> str:
        return f"OpaqueObject({self.data!r}, {self.language!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return OpaqueObject, (self.data, self.language)


terms._Handle.language = Atom(b"erlang")


# What the codec makes: of items that are of these types already.


def list_of(items: Any) -> List:
    """The items as a `List`."""
    made = list.__new__(List)
    list.extend(made, items)
    return made


def map_of(content: dict[Any, Any]) -> Map:
    """The content of a dict as a `Map`."""
    made = dict.__new__(Map)
    dict.update(made, content)
    return made
