"""Pids, ports, references and funs, where it takes more than their bytes by way of erlang-py.

All are held in one spelling (newest tags, UTF-8 atoms), so that equal leaves have equal bytes whichever release sent
them. Pids, ports and references of the newest kinds, whose nodes have names in ASCII, differ from that in the tag of
the name alone: for them erlang-py is not even imported. It reads and writes the others. It trusts its input, so every
leaf is measured first and handed over alone. Closures stay as they came, too: they hold terms of any kind.
"""

from __future__ import annotations

from _struct import Struct  # `struct` is a file more
from _struct import error as struct_error  # type: ignore[attr-defined]

from erl import errors, terms
from erl.codec import tags
from erl.codec.extents import end_of_atom, end_of_term

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_u32 = Struct(">I").unpack_from

_MAX_REFERENCE_WORDS: Final = 5
_NEW_FUN_HEAD_BYTES: Final = 1 + 4 + 1 + 16 + 4 + 4
"""Tag, size, arity, uniq, index, number of free variables."""

PIDS: Final = frozenset((tags.NEW_PID, tags.PID))
PORTS: Final = frozenset((tags.V4_PORT, tags.NEW_PORT, tags.PORT))
REFERENCES: Final = frozenset((tags.NEWER_REFERENCE, tags.NEW_REFERENCE, tags.REFERENCE))
FUNS: Final = frozenset((tags.NEW_FUN, tags.EXPORT, tags.FUN))
ALL: Final = PIDS | PORTS | REFERENCES | FUNS

_NEWEST: Final[dict[int, Any]] = {
    tags.NEW_PID: terms.Pid,
    tags.V4_PORT: terms.Port,
    tags.NEWER_REFERENCE: terms.Reference,
}
_NEWEST_NODE: Final = {tags.NEW_PID: 1, tags.V4_PORT: 1, tags.NEWER_REFERENCE: 3}
"""Where the name of the node begins."""

_INTEGERS: Final = frozenset((tags.SMALL_INTEGER, tags.INTEGER))


def read(data: bytes, position: int) -> tuple[object, int]:
    """The leaf at `position`, whose tag is one of `ALL`, and the position after it. Raises `DecodeError`."""
    tag = data[position]
    end = end_of_term(data, position)
    if tag in FUNS:
        _check_fun(data, position, end)
    external = data[position:end]
    held = _newest(external) if tag in _NEWEST else None
    if held is not None:
        return _NEWEST[tag](held), end
    try:
        leaf = _erlang_py().binary_to_term(b"\x83" + external)
    except UnicodeDecodeError:
        raise errors.DecodeError(
            f"the name of an atom is not UTF-8, in tag {tag} at byte {position}"
        ) from None
    except (SyntaxError, ValueError, TypeError) as cause:  # erlang-py's ParseException is a SyntaxError
        raise errors.DecodeError(f"tag {tag} at byte {position}: {cause}") from None
    if tag in PIDS:
        return terms.Pid(_pid(leaf)), end
    if tag in PORTS:
        return terms.Port(_port(leaf)), end
    if tag in REFERENCES:
        return terms.Reference(_reference(leaf)), end
    if tag == tags.EXPORT:
        return terms.Fun(_export(external)), end
    return terms.Fun(leaf.binary()), end


def _newest(external: bytes) -> bytes | None:
    """A pid, port or reference of the newest kind as it is held; None where more than its node is spelled anew."""
    head = _NEWEST_NODE[external[0]]
    short = external[head] != tags.ATOM
    if external[head] not in (tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM, tags.ATOM):
        return None
    start = head + (2 if short else 3)
    end = start + (external[head + 1] if short else int.from_bytes(external[head + 1 : start], "big"))
    name = external[start:end]
    words = int.from_bytes(external[1:3], "big") if external[0] == tags.NEWER_REFERENCE else 1
    # In ASCII all spellings of a name are the same.
    if not name.isascii() or len(name) > terms.MAX_ATOM_CHARACTERS or not 1 <= words <= _MAX_REFERENCE_WORDS:
        return None
    return external[:head] + bytes((tags.SMALL_ATOM_UTF8, len(name))) + name + external[end:]


def _erlang_py() -> Any:
    """The package, imported with the first leaf: ErlPort wraps them all, and so needs none.

    Raises `DecodeError` where it is missing.
    """
    # By name, for mypy: it would take the repository's directory erlang/ for this module, which has no types.
    try:
        module = __import__("erlang")
        if hasattr(module, "binary_to_term"):
            return module
    except ImportError:
        pass
    raise errors.DecodeError("a pid, port, reference or fun needs erlang-py here (pip install erlang-py)")


def external_of(value: object) -> bytes | None:
    """The term of an object of erlang-py's own classes, without version byte; None for any other object."""
    binary: Any = getattr(value, "binary", None)
    if type(value).__module__ != "erlang" or not callable(binary):
        return None
    try:
        external = binary()
    except (TypeError, ValueError, AttributeError) as cause:
        raise errors.EncodeError(f"erlang-py could not encode a {type(value).__name__}: {cause}") from cause
    return bytes(external)


def unwrapped(content: bytes) -> bytes:
    """A term that Erlang sent wrapped, bare: how ErlPort sends it back. ErlPort wraps it without a version byte.

    Raises `EncodeError` where the content is not one whole term.
    """
    start = 1 if content[:1] == b"\x83" else 0
    try:
        whole = end_of_term(content, start) == len(content)
    except (errors.DecodeError, IndexError, struct_error):
        whole = False
    if not whole:
        raise errors.EncodeError(f"{content[:40]!r} is not an Erlang term")
    return content[start:]


def _pid(leaf: Any) -> bytes:
    leaf.node.value = _node(leaf.node.value)
    leaf.creation = leaf.creation.rjust(4, b"\0")
    return bytes(leaf.binary())


def _port(leaf: Any) -> bytes:
    leaf.node.value = _node(leaf.node.value)
    leaf.creation = leaf.creation.rjust(4, b"\0")
    leaf.id = leaf.id.rjust(8, b"\0")
    return bytes(leaf.binary())


def _reference(leaf: Any) -> bytes:
    words = len(leaf.id) // 4
    if not 1 <= words <= _MAX_REFERENCE_WORDS:
        raise errors.DecodeError(f"a reference has 1 to {_MAX_REFERENCE_WORDS} words, not {words}")
    leaf.node.value = _node(leaf.node.value)
    leaf.creation = leaf.creation.rjust(4, b"\0")
    return bytes(leaf.binary())


def _node(name: bytes | str) -> str:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if len(text) > terms.MAX_ATOM_CHARACTERS:
        raise errors.DecodeError("a name in a pid, port, reference or fun is longer than an atom can be")
    return text


def _export(external: bytes) -> bytes:
    """Module, function, arity."""
    middle = end_of_atom(external, 1)
    end = end_of_atom(external, middle)
    return external[:1] + _atom(external[1:middle]) + _atom(external[middle:end]) + external[end:]


def _atom(external: bytes) -> bytes:
    short = external[0] in (tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM)
    latin1 = external[0] in (tags.SMALL_ATOM, tags.ATOM)
    try:
        name = external[2 if short else 3 :].decode("latin-1" if latin1 else "utf-8")
    except UnicodeDecodeError:
        raise errors.DecodeError("the name of an atom is not UTF-8") from None
    return bytes(_erlang_py().OtpErlangAtom(_node(name)).binary())


def _check_fun(data: bytes, position: int, end: int) -> None:
    """A fun goes back to Erlang byte for byte, so its parts must be what Erlang will look for."""
    tag = data[position]
    if tag == tags.EXPORT:
        i = end_of_atom(data, end_of_atom(data, position + 1))
        fits = data[i] == tags.SMALL_INTEGER
    elif tag == tags.NEW_FUN:
        free = int(_u32(data, position + _NEW_FUN_HEAD_BYTES - 4)[0])
        i = end_of_atom(data, position + _NEW_FUN_HEAD_BYTES)
        fits = _ends_as_fun(data, _integers_and_pid(data, i), free, end)
    else:
        free = int(_u32(data, position + 1)[0])
        if data[position + 5] not in PIDS:
            raise errors.DecodeError(f"malformed fun at byte {position}")
        i = end_of_atom(data, end_of_term(data, position + 5))
        fits = data[i] in _INTEGERS and data[end_of_term(data, i)] in _INTEGERS
    if not fits:
        raise errors.DecodeError(f"malformed fun at byte {position}")


def _integers_and_pid(data: bytes, position: int) -> int:
    """The position after old index, old uniq and the pid of the creator; -1 where they are not."""
    i = position
    for expected in (_INTEGERS, _INTEGERS, PIDS):
        if data[i] not in expected:
            return -1
        i = end_of_term(data, i)
    return i


def _ends_as_fun(data: bytes, position: int, free: int, end: int) -> bool:
    if position < 0 or free > end - position:
        return False
    for _ in range(free):
        if position >= end:
            return False
        position = end_of_term(data, position)
    return position == end
