"""The external term format, written: values to bytes, under the options of a call.

Every refusal is an `EncodeError`, and leaves the buffer as it was. A writer is found by the exact type of a
value and remembered until an encoder is registered: what the type is for the codec itself, else its
encoder, its tagged form, a reference for what is bound to this process, a pickle.
"""

from __future__ import annotations

import struct
from math import isfinite
from struct import Struct

from erl import errors, terms
from erl.codec import leaves, simplify, spelling, standard, tags
from erl.codec.extents import end_of_term
from erl.codec.options import (
    ARRAYS_SHARED,
    MAX_DEPTH,
    MAX_INTEGER_BYTES,
    PLAIN,
    STRINGS_BINARY,
    WAYS,
    Options,
)
from erl.terms import Atom
from erl.values import callout, plain
from erl.values.scope import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from erl.values.scope import Scope

    Writer = Callable[["_Mode", bytearray, Any, int], None]

_MAX_CACHED: Final = 4096
_MAX_CACHED_CHARACTERS: Final = 64
_PLAIN_PICKLE_PROTOCOL: Final = 2
_PICKLE_PROTOCOL: Final = 5
_LARGE_BYTES: Final = 65536

_tagged_u8 = Struct(">BB").pack
_tagged_u32 = Struct(">BI").pack
_tagged_i32 = Struct(">Bi").pack
_tagged_f64 = Struct(">Bd").pack

_SMALL_INTEGERS: Final = tuple(_tagged_u8(tags.SMALL_INTEGER, number) for number in range(256))
_PAIR: Final = b"h\x02"
_DICT_HEAD: Final = b"h\x02k\x00\x04dict"
_NAN_NAMES: Final = {float("inf"): "infinity", float("-inf"): "-infinity"}

_DISTINCT: Final = frozenset((str, int, bytes, Atom, plain.Atom))
"""Key types whose unequal values are unequal terms."""


class _Mode:
    """One way to map in a conversation: what it depends on, and the writers found so far."""

    __slots__ = (
        "atoms",
        "dicts_map",
        "fast",
        "forms",
        "none",
        "scope",
        "strings_binary",
        "tagged",
        "texts",
        "writers",
    )

    def __init__(self, options: Options, scope: Scope) -> None:
        self.scope = scope
        self.strings_binary = options.strings_binary and options.tagged
        self.dicts_map = options.dicts_map or not options.tagged
        self.tagged = options.tagged
        self.forms = options.forms
        self.none = options.none
        self.texts: dict[str, bytes] = {}
        self.atoms: dict[str, bytes] = {}
        self.forget()

    def forget(self) -> None:
        """Find every writer anew: what is registered has changed."""
        self.writers: dict[type, Writer] = {}
        self.fast = not self.tagged or not any(map(self.scope.encoders.lookup, _BUILT_IN))

    def atom(self, name: str) -> bytes:
        """The encoded atom."""
        spelled = self.atoms.get(name)
        if spelled is None:
            spelled = spelling.atom(name, latin1=not self.tagged)
            if len(self.atoms) >= _MAX_CACHED:
                self.atoms.clear()
            self.atoms[name] = spelled
        return spelled

    def text(self, string: str) -> bytes:
        """The encoded `str`, remembered while it is short: for the keys of dicts."""
        spelled = self.texts.get(string)
        if spelled is None:
            spelled = spelling.binary(string) if self.strings_binary else spelling.code_points(string)
            if len(string) <= _MAX_CACHED_CHARACTERS:
                if len(self.texts) >= _MAX_CACHED:
                    self.texts.clear()
                self.texts[string] = spelled
        return spelled

    def find(self, kind: type) -> Writer:
        """The writer for values of exactly this type."""
        what = f"finding out how to encode a {kind.__name__}"
        writer = callout.run(errors.EncodeError, what, _find_writer, kind, self)
        if len(self.writers) >= _MAX_CACHED:
            self.writers.clear()
        self.writers[kind] = writer
        return writer


def encode(value: object, options: Options) -> bytes:
    """The value as a whole term. Raises `EncodeError`."""
    buffer = bytearray(b"\x83")
    encode_into(buffer, value, options)
    return bytes(buffer)


def encode_into(buffer: bytearray, value: object, options: Options) -> None:
    """Append the value's term, without the version byte. On an error the buffer is what it was."""
    start = len(buffer)
    written = False
    try:
        _write(_mode(options), buffer, value, 0)
        written = True
    except RecursionError:
        raise errors.EncodeError("no room for the term: RecursionError") from None
    except struct.error:
        raise errors.EncodeError("longer than a term can say (4,294,967,295)") from None
    except TypeError as cause:  # from the table of writers: a metaclass without a hash
        raise errors.EncodeError(f"a value whose type can't be looked up: {cause}") from cause
    finally:
        if not written:
            del buffer[start:]


def _mode(options: Options) -> _Mode:
    scope = current()
    try:
        modes = scope.caches["erl.codec.writer"]
    except KeyError:
        modes = _new_modes(scope)
    key = options.flags & WAYS if options.tagged else PLAIN
    mode: _Mode | None = modes.get(key)
    if mode is None:
        mode = modes[key] = _Mode(options, scope)
    return mode


def _new_modes(scope: Scope) -> dict[int, _Mode]:
    """The ways to map, found anew when what is registered changes."""
    modes: dict[int, _Mode] = {}

    def forget() -> None:
        for mode in list(modes.values()):
            mode.forget()

    scope.caches["erl.codec.writer"] = modes
    scope.encoders.watch(forget)
    return modes


def _write(mode: _Mode, buffer: bytearray, value: Any, depth: int) -> None:
    kind = type(value)
    (mode.writers.get(kind) or mode.find(kind))(mode, buffer, value, depth)


def _write_all(mode: _Mode, buffer: bytearray, values: tuple[Any, ...], depth: int) -> None:
    """The elements of a container at `depth`; the commonest leaves without a call."""
    writers = mode.writers
    fast = mode.fast
    for value in values:
        kind = type(value)
        if fast:
            if kind is int:
                if 0 <= value <= 255:
                    buffer += _SMALL_INTEGERS[value]
                    continue
                if -0x80000000 <= value <= 0x7FFFFFFF:
                    buffer += _tagged_i32(98, value)
                    continue
            elif kind is str:
                buffer += spelling.binary(value) if mode.strings_binary else spelling.code_points(value)
                continue
            elif kind is float and isfinite(value):
                buffer += _tagged_f64(70, value)
                continue
        (writers.get(kind) or mode.find(kind))(mode, buffer, value, depth)


def _deeper(depth: int, levels: int = 1) -> int:
    """The depth inside a container."""
    if depth + levels > MAX_DEPTH:
        raise errors.EncodeError(f"nested more than {MAX_DEPTH} deep (a cycle?)")
    return depth + levels


def _none(mode: _Mode, buffer: bytearray, value: None, depth: int) -> None:
    buffer += mode.atom(mode.none)


def _bool(mode: _Mode, buffer: bytearray, value: bool, depth: int) -> None:
    buffer += mode.atom("true" if value else "false")


def _atom(mode: _Mode, buffer: bytearray, value: str, depth: int) -> None:
    buffer += mode.atom(value)


def _int(mode: _Mode, buffer: bytearray, value: int, depth: int) -> None:
    if 0 <= value <= 255:
        buffer += _SMALL_INTEGERS[value]
    elif -0x80000000 <= value <= 0x7FFFFFFF:
        buffer += _tagged_i32(tags.INTEGER, value)
    else:
        size = (value.bit_length() + 7) // 8
        if size > MAX_INTEGER_BYTES:
            raise errors.EncodeError(f"an int of {size} bytes: Erlang's have at most {MAX_INTEGER_BYTES}")
        buffer += spelling.big(value, size)


def _float(mode: _Mode, buffer: bytearray, value: float, depth: int) -> None:
    if isfinite(value):
        buffer += _tagged_f64(tags.NEW_FLOAT, value)
    else:
        buffer += mode.atom(_NAN_NAMES.get(value, "nan"))


def _str(mode: _Mode, buffer: bytearray, value: str, depth: int) -> None:
    buffer += spelling.binary(value) if mode.strings_binary else spelling.code_points(value)


def _tag(mode: _Mode, buffer: bytearray, value: str, depth: int) -> None:
    buffer += spelling.code_points(value)


def _bytes(mode: _Mode, buffer: bytearray, value: bytes, depth: int) -> None:
    if mode.forms & ARRAYS_SHARED and len(value) >= _LARGE_BYTES:
        from erl.codec import shared

        simpler = shared.of_bytes(value)
        if simpler is not None:
            _write(mode, buffer, simpler, depth)
            return
    buffer += _tagged_u32(tags.BINARY, len(value))
    buffer += value


def _tuple(mode: _Mode, buffer: bytearray, value: tuple[Any, ...], depth: int) -> None:
    size = len(value)
    buffer += _tagged_u8(tags.SMALL_TUPLE, size) if size <= 255 else _tagged_u32(tags.LARGE_TUPLE, size)
    _write_all(mode, buffer, value, _deeper(depth))


def _list(mode: _Mode, buffer: bytearray, value: list[Any], depth: int) -> None:
    items = tuple(value)  # what an encoder does to the list meanwhile can't break the frame
    inside = _deeper(depth)
    if not items:
        buffer.append(tags.NIL)
        return
    if mode.fast and spelling.append_numbers(buffer, items):
        return
    buffer += _tagged_u32(tags.LIST, len(items))
    _write_all(mode, buffer, items, inside)
    buffer.append(tags.NIL)


def _improper_list(mode: _Mode, buffer: bytearray, value: terms.ImproperList, depth: int) -> None:
    items = tuple(value)
    if not items:
        raise errors.EncodeError("an improper list has lost its elements")
    inside = _deeper(depth)
    buffer += _tagged_u32(tags.LIST, len(items))
    _write_all(mode, buffer, (*items, value.tail), inside)


def _dict(mode: _Mode, buffer: bytearray, value: dict[Any, Any], depth: int) -> None:
    items = tuple(value.items())
    if mode.dicts_map:
        _write_map(mode, buffer, items, depth)
        return
    buffer += _DICT_HEAD
    if not items:
        _deeper(depth)
        buffer.append(tags.NIL)
        return
    inside = _deeper(depth, 3)
    buffer += _tagged_u32(tags.LIST, len(items))
    _write_pairs(mode, buffer, items, _PAIR, inside)
    buffer.append(tags.NIL)


def _map(mode: _Mode, buffer: bytearray, value: terms.Map, depth: int) -> None:
    _write_map(mode, buffer, tuple(value.content.items()), depth)


def _map_of_erlport(mode: _Mode, buffer: bytearray, value: plain.Map, depth: int) -> None:
    _write_map(mode, buffer, tuple(value.items()), depth)


def _write_map(mode: _Mode, buffer: bytearray, items: tuple[tuple[Any, Any], ...], depth: int) -> None:
    inside = _deeper(depth)
    buffer += _tagged_u32(tags.MAP, len(items))
    kinds = {type(key) for key, _ in items}
    if len(kinds) > 1 or not kinds <= _DISTINCT or not mode.fast:
        _write_distinct(mode, buffer, items, inside)
    else:
        _write_pairs(mode, buffer, items, b"", inside)


def _write_pairs(
    mode: _Mode, buffer: bytearray, items: tuple[tuple[Any, Any], ...], head: bytes, depth: int
) -> None:
    writers, texts = mode.writers, mode.texts
    fast = mode.fast
    for key, value in items:
        buffer += head
        if fast and type(key) is str:
            buffer += texts.get(key) or mode.text(key)
        else:
            _write(mode, buffer, key, depth)
        kind = type(value)
        if fast and kind is int and 0 <= value <= 255:
            buffer += _SMALL_INTEGERS[value]
        else:
            (writers.get(kind) or mode.find(kind))(mode, buffer, value, depth)


def _write_distinct(mode: _Mode, buffer: bytearray, items: tuple[tuple[Any, Any], ...], depth: int) -> None:
    """The pairs of a map whose keys, unequal in Python, may be one term (with strings as binaries: 'a' and
    b'a').
    """
    seen: dict[bytes, Any] = {}
    for key, value in items:
        start = len(buffer)
        _write(mode, buffer, key, depth)
        spelled = bytes(buffer[start:])
        if spelled in seen:
            both = f"{callout.shown(seen[spelled])} and {callout.shown(key)}"
            raise errors.EncodeError(f"the keys {both} of a dict are the same term")
        seen[spelled] = key
        _write(mode, buffer, value, depth)


def _handle(mode: _Mode, buffer: bytearray, value: Any, depth: int) -> None:
    buffer += value.external


def _bit_string(mode: _Mode, buffer: bytearray, value: terms.BitString, depth: int) -> None:
    buffer += _tagged_u32(tags.BIT_BINARY, len(value.data))
    buffer.append(value.bits)
    buffer += value.data


def _bytes_atom(mode: _Mode, buffer: bytearray, value: plain.Atom, depth: int) -> None:
    buffer += mode.atom(bytes(value).decode("latin-1"))


def _opaque_erlang(mode: _Mode, buffer: bytearray, value: terms.OpaqueErlang, depth: int) -> None:
    _deeper(depth)
    if mode.tagged:
        _write_opaque(mode, buffer, "erlang", value.external)
    else:
        buffer += leaves.unwrapped(value.external)


def _opaque_object(mode: _Mode, buffer: bytearray, value: plain.OpaqueObject, depth: int) -> None:
    _deeper(depth)
    language = bytes(value.language).decode("latin-1")
    if language == "erlang" and not mode.tagged:
        buffer += leaves.unwrapped(value.data)
    else:
        _write_opaque(mode, buffer, language, value.data)


def _pickle(mode: _Mode, buffer: bytearray, value: object, depth: int) -> None:
    """As a pickle; what can't be pickled, as a reference."""
    _deeper(depth)
    try:
        pickled = mode.scope.pickles.dumps(value, _PICKLE_PROTOCOL if mode.tagged else _PLAIN_PICKLE_PROTOCOL)
    except errors.NotPicklableError:
        _reference(mode, buffer, value, depth)
    else:
        _write_opaque(mode, buffer, "python", pickled)


def _write_opaque(mode: _Mode, buffer: bytearray, language: str, content: bytes) -> None:
    buffer += _tagged_u8(tags.SMALL_TUPLE, 3)
    buffer += mode.atom("$erlport.opaque")
    buffer += mode.atom(language)
    buffer += _tagged_u32(tags.BINARY, len(content))
    buffer += content


def _reference(mode: _Mode, buffer: bytearray, value: object, depth: int) -> None:
    _write(mode, buffer, mode.scope.references.hold(value), depth)


def _foreign(mode: _Mode, buffer: bytearray, value: object, depth: int) -> None:
    """An object of erlang-py's own classes; checked, because erlang-py does not."""
    external = leaves.external_of(value)
    if external is None:
        _pickle(mode, buffer, value, depth)
        return
    try:
        fits = end_of_term(external, 0) == len(external)
    except (errors.DecodeError, IndexError, struct.error):
        fits = False
    if not fits:
        raise errors.EncodeError(f"{callout.shown(value)} is not a term")
    buffer += external


def _by_encoder(function: Callable[[Any], object]) -> Writer:
    def write(mode: _Mode, buffer: bytearray, value: Any, depth: int) -> None:
        what = f"the encoder of {type(value).__name__}"
        _write(mode, buffer, callout.run(errors.EncodeError, what, function, value), _deeper(depth))

    return write


def _by_form(simplifier: Callable[[Any], object]) -> Writer:
    def write(mode: _Mode, buffer: bytearray, value: Any, depth: int) -> None:
        simpler = simplifier(value)
        if simpler is standard.NO_FORM:
            _pickle(mode, buffer, value, depth)
        else:
            _write(mode, buffer, simpler, depth)

    return write


def _find_writer(kind: type, mode: _Mode) -> Writer:
    """The rules, first to last: a registered encoder, what the codec knows, a form, a reference, a pickle."""
    tagged = mode.tagged
    if tagged:
        encoder = mode.scope.encoders.lookup(kind)
        if encoder is not None:
            return _by_encoder(encoder)
    writer = _BUILT_IN.get(kind)
    if writer is not None:
        return writer
    if tagged:
        flags = mode.forms | STRINGS_BINARY if mode.strings_binary else mode.forms
        simplifier = simplify.of_type(kind, flags)
        if simplifier is not None:
            return _by_form(simplifier)
    if kind.__module__ == "erlang":
        return _foreign
    return _reference if _is_bound_to_process(kind) else _pickle


def _is_bound_to_process(kind: type) -> bool:
    """Whether values of the type have a place or a state here that a copy would not share."""
    name = (kind.__module__, kind.__qualname__)
    return hasattr(kind, "__next__") or name in _BOUND


_BOUND: Final = frozenset((("builtins", "module"), ("builtins", "code"), ("builtins", "memoryview")))


_BUILT_IN: Final[dict[type, Writer]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    Atom: _atom,
    plain.Atom: _bytes_atom,
    plain.List: _list,
    plain.Map: _map_of_erlport,
    plain.ImproperList: _improper_list,
    plain.OpaqueObject: _opaque_object,
    terms.Tag: _tag,
    terms.Map: _map,
    terms.ImproperList: _improper_list,
    terms.BitString: _bit_string,
    terms.OpaqueErlang: _opaque_erlang,
    terms.Pid: _handle,
    terms.Port: _handle,
    terms.Reference: _handle,
    terms.Fun: _handle,
}
