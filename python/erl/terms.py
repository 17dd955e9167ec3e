"""Erlang terms that Python has no type for.

The types know how they compare, hash, print and pickle. They know neither the wire nor the mapping options:
the codec makes them and writes them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Final

    _List = list[Any]
else:
    _List = list

MAX_ATOM_CHARACTERS: Final = 255
"""The longest atom, in characters (not bytes), as in Erlang."""

_MAX_INTERNED: Final = 8192


class Atom(str):
    """An Erlang atom: a `str` that encodes as an atom. It compares and hashes as its text.

    `Atom('undefined')`, `Atom('true')` and `Atom('false')` come back as `None`, `True` and `False`.
    Raises ValueError for more than 255 characters.
    """

    __slots__ = ()
    _interned: ClassVar[dict[str, Atom]] = {}

    def __new__(cls, text: str) -> Atom:
        atom = cls._interned.get(text)
        if atom is not None and type(atom) is cls:
            return atom
        if len(text) > MAX_ATOM_CHARACTERS:
            raise ValueError(f"an atom of {len(text)} characters: {MAX_ATOM_CHARACTERS} is the most")
        if len(cls._interned) >= _MAX_INTERNED:
            cls._interned.clear()
        atom = cls._interned[text] = super().__new__(cls, text)
        return atom

    def decode(self, _encoding: str = "", _errors: str = "") -> str:
        """The text, for code that was written for ErlPort, whose atoms are bytes."""
        return str(self)

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


class Tag(str):
    """Text that is a list of code points for Erlang whatever the options: the heads and payloads of tagged
    forms.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Tag({str.__repr__(self)})"


class Map:
    """A dict that is a map for Erlang whatever the options: parts of tagged forms."""

    __slots__ = ("content",)

    def __init__(self, content: dict[Any, Any]) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"Map({self.content!r})"


class ImproperList(_List):
    """A list that ends in something else than the empty list: `[1, 2 | Tail]`.

    Raises ValueError for no elements, or for a tail that is a list itself (that is a proper list).
    """

    __slots__ = ("tail",)
    tail: Any

    def __init__(self, elements: Any, tail: Any) -> None:
        super().__init__(elements)
        if not self:
            raise ValueError("an improper list has at least one element")
        if isinstance(tail, list):
            raise ValueError("the tail of an improper list is not a list: join the two")
        self.tail = tail

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImproperList):
            return list.__eq__(self, other) and bool(self.tail == other.tail)
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return f"ImproperList({list.__repr__(self)}, {self.tail!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ImproperList, (list(self), self.tail)


class BitString:
    """A binary whose last byte is only begun: `bits` (1 to 7) of it count, from its high end."""

    __slots__ = ("bits", "data")

    def __init__(self, data: bytes, bits: int) -> None:
        if not data or not 1 <= bits <= 7:
            raise ValueError("a bit string has at least one byte, and 1 to 7 bits in the last one")
        self.data = data[:-1] + bytes([data[-1] & (0xFF00 >> bits) & 0xFF])
        self.bits = bits

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BitString):
            return self.bits == other.bits and self.data == other.data
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.data, self.bits))

    def __len__(self) -> int:
        """The size in bits."""
        return 8 * (len(self.data) - 1) + self.bits

    def __repr__(self) -> str:
        return f"BitString({self.data!r}, {self.bits})"

    def __reduce__(self) -> tuple[Any, ...]:
        return BitString, (self.data, self.bits)


class _Handle:
    """What Erlang alone can look into: Python holds it, compares it, and sends it back.

    `external` is the term in the external term format, without the version byte and, as far as the codec
    made it, in one canonical spelling; so equal handles have equal bytes.
    """

    __slots__ = ("external",)

    def __init__(self, external: bytes) -> None:
        self.external = external

    @property
    def data(self) -> bytes:
        """ErlPort's name for `external`."""
        return self.external

    language: ClassVar[bytes] = b"erlang"
    """Who can look into it, as in ErlPort; `erl.values.plain` puts its atom here."""

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return self.external == other.external
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.external)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.external!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.external,)


class Pid(_Handle):
    """A process identifier."""

    __slots__ = ()


class Port(_Handle):
    """A port identifier."""

    __slots__ = ()


class Reference(_Handle):
    """What `make_ref/0` makes (an object that stayed in Python is something else: see `erl.values.references`)."""

    __slots__ = ()


class Fun(_Handle):
    """A fun, a closure or an external one (`fun lists:sum/1`)."""

    __slots__ = ()


class OpaqueErlang(_Handle):
    """A term that Erlang sent wrapped (`{'$erlport.opaque', erlang, Bytes}`); it goes back as it came.

    Here `external` is what stood in `Bytes`, version byte and all.
    """

    __slots__ = ()
