"""ErlPort's Python API on top of `erl`: conversations byte for byte, its types, its functions, and how it is found."""

from __future__ import annotations

import copy
import operator
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conversation import Conversation

from erl import codec, decoders, errors, terms
from erl.codec import Options
from erl.names.finder import Finder
from erl.terms import Atom

VECTORS = Path(__file__).parents[2] / "vectors" / "conversations.txt"
ERLPORT = Options.from_flags(20)
DEFAULT = Options.from_flags(4)


def conversations() -> dict[str, list[tuple[str, bytes]]]:
    """The frames of each conversation that is for this half, with their directions."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for line in VECTORS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, half, direction, frame, _meaning = line.split("\t")
            if half in ("both", "python"):
                found.setdefault(name, []).append((direction, bytes.fromhex(frame)))
    return found


CONVERSATIONS = conversations()


def erlport(*flags: str, packet: int = 4, compiled: bool = True) -> Conversation:
    return Conversation(
        f"--packet={packet}", "--use_stdio", *flags, packet=packet, options=ERLPORT, compiled=compiled
    )


both_codecs = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "reference"])


def talk(python: Conversation, lines: list[tuple[str, bytes]]) -> None:
    for direction, frame in lines:
        if direction == ">":
            python.send_frames(frame)
        else:
            assert python.receive_frame() == frame


@both_codecs
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_has_the_bytes_of_its_vector(name: str, compiled: bool) -> None:
    with erlport("--compressed=0", "--buffer_size=65536", compiled=compiled) as python:
        talk(python, CONVERSATIONS[name])


@pytest.mark.parametrize("packet", [2, 4])
@pytest.mark.parametrize("name", ["values", "a_call_of_erlang", "messages_to_python", "a_print"])
def test_a_conversation_is_the_same_in_every_packet_length(name: str, packet: int) -> None:
    with erlport(packet=packet) as python:
        talk(python, CONVERSATIONS[name])


@pytest.mark.parametrize("level", ["1", "6", "9"])
def test_compressed_frames_are_read_and_answered(level: str) -> None:
    with erlport(f"--compressed={level}") as python:
        for id_ in (1, 2, 3):  # at the first call, and when it is known
            python.send_frames(
                compressed((Atom("C"), id_, Atom("operator"), Atom("getitem"), [([7] * 9000,), 0]))
            )
            frame = python.receive_frame()
            assert frame[:2] == b"\x83P"
            assert codec.decode(frame, ERLPORT) == (Atom("r"), id_, [7] * 9000)
        python.call(4, "operator", "add", [1, 2])
        assert python.receive_frame() == bytes.fromhex("83680364000172 6104 6103")


@pytest.mark.parametrize("compressed_flag", ["--compressed=0", "--compressed=false"])
def test_compressed_calls_are_read_by_a_server_that_does_not_compress(compressed_flag: str) -> None:
    with erlport(compressed_flag) as python:
        for id_ in (1, 2, 3):
            python.send_frames(compressed((Atom("C"), id_, Atom("builtins"), Atom("len"), [[7] * 9000])))
            assert python.answer(id_) == 9000


def compressed(term: object) -> bytes:
    import zlib

    frame = codec.encode(term, ERLPORT)
    return b"\x83P" + (len(frame) - 1).to_bytes(4, "big") + zlib.compress(frame[1:])


# What the packet length can't count


@pytest.mark.parametrize("packet", [1, 2])
@pytest.mark.parametrize("longer_by", [0, 1, 100_000])
def test_a_result_that_is_too_long_is_an_error_and_the_process_lives(packet: int, longer_by: int) -> None:
    limit = 1 << 8 * packet
    head = len(codec.encode((Atom("r"), 1, b""), ERLPORT))
    with erlport(packet=packet) as python:
        python.call(1, "operator", "mul", [b"x", limit - head - 1])
        assert python.answer(1) == b"x" * (limit - head - 1)
        python.call(1, "operator", "mul", [b"x", limit - head + longer_by])
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 1, "erl.errors.EncodeError")  # type: ignore[index]
        assert f"packet length of {packet} bytes".encode() in bytes(error[2])  # type: ignore[index]
        python.call(2, "operator", "add", [1, 2])
        assert python.answer(2) == 3


@pytest.mark.parametrize("packet", [1, 2])
def test_an_exception_that_is_too_long_is_an_error_and_the_process_lives(packet: int) -> None:
    with erlport(packet=packet) as python:
        python.call(1, "erlport_probe", "fail_at_length", [1 << 8 * packet])
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 1, "erl.errors.EncodeError")  # type: ignore[index]
        python.call(1, "erlport_probe", "fail_deep", [1])
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 1, "builtins.ValueError")  # type: ignore[index]
        lines = [bytes(line).decode() for line in error[3]]  # type: ignore[index]
        assert lines[-1] == "  called from Erlang\n"
        assert (len(lines) > 1) is (packet == 2)
        python.call(2, "operator", "add", [1, 2])
        assert python.answer(2) == 3


@pytest.mark.parametrize("packet", [1, 2])
def test_a_print_that_is_too_long_comes_in_parts(packet: int) -> None:
    with erlport(packet=packet) as python:
        python.call(1, "erlport_probe", "say", [100_000])
        printed = b""
        while (message := python.receive())[0] == "P":
            printed += bytes(message[1])  # type: ignore[arg-type, call-overload]
        assert printed == b"x" * 100_000 + b"\n"
        assert message == ("r", 1, None)


def test_a_message_that_is_too_long_fails_where_it_is_sent() -> None:
    with erlport(packet=1) as python:
        python.call(1, "erlport_probe", "tell_too_much", [])
        assert bytes(python.answer(1)).startswith(b"EncodeError")  # type: ignore[arg-type, call-overload]


@both_codecs
def test_messages_are_of_erlports_types(compiled: bool) -> None:
    with erlport(compiled=compiled) as python:
        python.call(1, "erlport_probe", "listen", [])
        python.answer(1)
        python.send((Atom("M"), Atom("green")), (Atom("M"), [1]), (Atom("M"), b"x"))
        python.call(2, "erlport_probe", "kinds_heard", [])
        assert [bytes(kind) for kind in python.answer(2)] == [b"Atom", b"List", b"bytes"]  # type: ignore[attr-defined, call-overload]


# ErlPort's types, whether or not a module imports `erlport`


@both_codecs
def test_erlports_types_come_without_an_import(compiled: bool) -> None:
    with erlport(compiled=compiled) as python:
        for id_ in (1, 2, 3):  # by the server, and by the lane once the function is known
            term = (Atom("ok"), [1], {Atom("k"): [b"v"]}, b"b", terms.ImproperList([1], Atom("t")), [[]])
            python.call(id_, "builtins", "repr", [term])
            shown = bytes(python.answer(id_)).decode()  # type: ignore[arg-type, call-overload]
            assert shown == (
                "(Atom(b'ok'), List([1]), Map({Atom(b'k'): List([b'v'])}), b'b', "
                "ImproperList([1], Atom(b't')), List([List([])]))"
            )
        python.call(4, "erlport_probe", "listen_plainly", [])
        python.answer(4)
        python.send((Atom("M"), (Atom("ok"), {1: [2]})))
        python.call(5, "erlport_probe", "is_ok", [Atom("ok")])
        assert python.answer(5) == (True, True, True)
        python.call(6, "erlport_probe", "kinds_in_message", [])
        assert [bytes(kind) for kind in python.answer(6)] == [b"Atom", b"Map", b"List"]  # type: ignore[attr-defined, call-overload]
        python.call(7, "erlport_probe", "loaded", [])
        assert python.answer(7) == []


@both_codecs
def test_what_erlang_answers_is_of_erlports_types_without_an_import(compiled: bool) -> None:
    with erlport(compiled=compiled) as python:
        python.call(1, "erlport_probe", "kinds_answered", [])
        asked = python.receive()
        assert (asked[0], *asked[2:4]) == ("C", b"erlang", b"get")  # type: ignore[index]
        python.send((Atom("r"), asked[1], [Atom("a"), {}]))  # type: ignore[index]
        assert [bytes(kind) for kind in python.answer(1)] == [b"List", b"Atom", b"Map"]  # type: ignore[attr-defined, call-overload]


@both_codecs
def test_keys_of_a_map_that_python_holds_for_equal_are_refused(compiled: bool) -> None:
    with erlport(compiled=compiled) as python:
        python.send_frames(b"\x83h\5d\0\1Ca\1d\0\x08builtinsd\0\3lenl\0\0\0\1t\0\0\0\2a\1jd\0\4truejj")
        kind, _, error = python.receive()
        assert (kind, error[1]) == ("e", b"erl.errors.DecodeError")  # type: ignore[index]
        assert b"equal in Python" in bytes(error[2])  # type: ignore[index]


# Errors


@both_codecs
def test_a_traceback_is_a_list_of_lines_that_is_never_empty(compiled: bool) -> None:
    with erlport(compiled=compiled) as python:
        python.call(1, "erlport_probe", "fail_deep", [9])
        _, _, (language, class_, text, trace) = python.receive()  # type: ignore[misc]
        assert (language, class_, bytes(text)) == (b"python", b"builtins.ValueError", b"deep")
        lines = [bytes(line).decode() for line in trace]
        assert [line.partition(", in ")[2] for line in lines[:2]] == [
            'fail_deep\n    raise ValueError("deep")\n',
            "fail_deep\n    fail_deep(depth + 1)\n",
        ]
        assert lines[2:] == ["  called from Erlang\n"]
        for id_, (module, function, args) in enumerate(
            [("no_such_module", "f", []), ("operator", "no_such", []), ("operator", "truediv", [1, 0])], 2
        ):
            python.call(id_, module, function, args)
            _, _, error = python.receive()
            assert [bytes(line) for line in error[3]][-1] == b"  called from Erlang\n"  # type: ignore[index]


def test_an_exception_is_followed_by_what_it_was_raised_from() -> None:
    with erlport() as python:
        python.call(1, "erlport_probe", "fail_for_a_reason", [])
        _, _, error = python.receive()
        lines = [bytes(line).decode() for line in error[3]]  # type: ignore[index]
        assert lines[0].endswith('raise Outer.Inner("second") from error\n')
        assert lines[1:2] == ["builtins.ValueError: first\n"]
        assert lines[-1] == "  called from Erlang\n"
        assert error[1] == b"erlport_probe.Inner"  # type: ignore[index]


@pytest.mark.parametrize("flags", [(), ("--py",)], ids=["erlport", "py"])
@pytest.mark.parametrize(
    ("sent", "parts"),
    [
        ((Atom("erlang"), Atom("error"), Atom("oops"), []), (b"erlang", b"error", b"oops", [])),
        ((Atom("python"), Atom("x.E"), [107], [[116]]), (b"python", b"x.E", [107], [[116]])),
        ((Atom("ruby"), Atom("E"), [107], []), (b"ruby", b"E", [107], [])),
        ((Atom("erlang"), Atom("undefined"), Atom("killed"), []), (b"erlang", None, b"killed", [])),
        (Atom("oops"), (None, None, b"oops", [])),
    ],
)
def test_a_call_error_has_its_parts(flags: tuple[str, ...], sent: object, parts: tuple[object, ...]) -> None:
    with Conversation(*flags, options=DEFAULT if flags else ERLPORT) as python:
        python.call(1, "erlport_probe", "parts_of_failure", [])
        asked = python.receive()
        python.send((Atom("e"), asked[1], sent))  # type: ignore[index]
        language, type_, value, stack, shown = python.answer(1)  # type: ignore[misc]
        got = (language, type_, value, stack)
        assert [_as_bytes(part) for part in got] == [_as_bytes(part) for part in parts]
        if isinstance(sent, tuple) and not flags:
            assert bytes(shown).startswith(b"(Atom(b'%s'), " % parts[0])  # type: ignore[arg-type, call-overload]


def _as_bytes(value: object) -> object:
    return value.encode("latin-1") if isinstance(value, str) else value


def test_there_is_nothing_to_read_from_standard_input() -> None:
    with erlport() as python:
        python.call(1, "builtins", "input", [])
        _, _, error = python.receive()
        assert (error[1], bytes(error[2])) == (b"io.UnsupportedOperation", b"readline")  # type: ignore[index]
        python.call(2, "sys", "stdin.read", [])
        assert python.receive()[0] == "e"


# In a pool


def test_in_a_pool_the_api_works_and_atoms_stay_those_of_erl() -> None:
    with Conversation("--py") as python:
        python.call(1, "erlport_talk", "text_of", [[104, 105]])
        assert python.answer(1) == b"hi"
        python.call(2, "erlport_probe", "kinds", [Atom("green"), [1], b"x"])
        assert [bytes(kind) for kind in python.answer(2)] == [b"Atom", b"List", b"bytes"]  # type: ignore[attr-defined, call-overload]
        python.call(3, "erlport_probe", "is_green", [Atom("green")])
        assert python.answer(3) is True
        python.call(4, "erlport_talk", "listen", [])
        assert python.answer(4) == "ok"
        python.send((Atom("M"), [(Atom("tea"), 1)]))
        python.call(5, "erlport_talk", "heard", [])
        assert python.answer(5) == [[(Atom("tea"), 1)]]


def test_in_a_pool_maps_are_erlports_in_its_api_and_as_elsewhere_outside() -> None:
    with Conversation("--py", options=Options.from_flags(6)) as python:
        python.call(1, "erlport_talk", "heard", [])
        python.answer(1)
        content = {Atom("a"): [1, {Atom("b"): 2}]}
        python.call(2, "erlport_probe", "kinds", [content])
        assert [bytes(kind) for kind in python.answer(2)] == [b"Map"]  # type: ignore[attr-defined, call-overload]
        python.call(3, "operator", "getitem", [(content,), 0])
        assert python.receive_frame().endswith(codec.encode(content, Options.from_flags(6))[1:])
        python.call(4, "erlport_talk", "tell", [Atom("someone"), [content]])
        told = python.receive_frame()
        assert told == codec.encode((Atom("M"), Atom("someone"), [content]), Options.from_flags(6))
        python.answer(4)
        python.call(5, "erlport_probe", "ask_and_tell", [Atom("someone")])
        dicts = {1: [{2: ({3: 4},)}]}
        assert python.receive() == ("M", "someone", [dicts])
        _, id_, *_, args, _ = asked = python.receive()
        assert (asked[2:4], args) == (("maps", "get"), [1, dicts])
        python.send((Atom("r"), id_, [{2: 3}]))
        assert [bytes(kind) for kind in python.answer(5)] == [b"List", b"Map"]  # type: ignore[attr-defined, call-overload]


def test_a_pid_can_be_kept_and_sent_to_whichever_way_it_came() -> None:
    pid = b"Xd\0\rnonode@nohost\0\0\0\x09\0\0\0\0\0\0\0\0"
    wrapped = bytes.fromhex(
        "8368056400014361016400 0c".replace(" ", "")
        + b"erlport_talk".hex()
        + "64000474656c6c"
        + "6c00000002"
        + "680364000f"
        + b"$erlport.opaque".hex()
        + "640006"
        + b"erlang".hex()
        + "6d"
        + len(pid).to_bytes(4, "big").hex()
        + pid.hex()
        + "6101"
        + "6a"
    )
    with erlport() as python:
        python.send_frames(wrapped)
        assert python.receive_frame() == b"\x83h\3d\0\1M" + pid + b"a\1"
        assert python.answer(1) == "ok"
        python.call(2, "erlport_probe", "opaque", [terms.Pid(pid)])
        assert python.answer(2) is True


# The types


@pytest.fixture
def erlterms() -> Iterator[ModuleType]:
    """`erlport.erlterms`, imported here as in a server with ErlPort's flags, and forgotten after the test."""
    sys.meta_path.insert(0, Finder)
    try:
        import erlport.erlterms

        yield erlport.erlterms
    finally:
        sys.meta_path.remove(Finder)
        decoders.set_decoder(None)
        for name in [name for name in sys.modules if name.partition(".")[0] == "erlport"]:
            del sys.modules[name]


def test_an_atom_is_made_of_bytes_or_text_and_equals_both(erlterms: ModuleType) -> None:
    atom = erlterms.Atom(b"ok")
    assert atom == erlterms.Atom("ok") == b"ok"
    assert atom == Atom("ok")
    assert atom == "ok"
    assert atom == "ok"
    assert Atom("ok") == atom
    assert atom != b"no"
    assert atom != "no"
    assert atom != Atom("\u2603")
    assert {atom: 1}[Atom("ok")] == {Atom("ok"): 1}[atom] == {b"ok": 1}[atom] == 1
    assert erlterms.Atom("caf\xe9") == b"caf\xe9"
    assert {erlterms.Atom("caf\xe9"): 1}[Atom("caf\xe9")] == 1
    assert isinstance(atom, bytes)
    assert isinstance(atom, erlterms.Atom)
    assert isinstance(Atom("ok"), erlterms.Atom)
    assert not isinstance(b"ok", erlterms.Atom)
    assert not isinstance("ok", erlterms.Atom)
    assert (repr(atom), atom.decode(), atom + b"ay") == ("Atom(b'ok')", "ok", b"okay")
    assert Atom("ok").decode("utf-8") == "ok"


@pytest.mark.parametrize("name", [b"x" * 256, "x" * 256, 7, None, [1]])
def test_what_is_no_atom_is_refused(erlterms: ModuleType, name: object) -> None:
    with pytest.raises((ValueError, TypeError), match="atom"):
        erlterms.Atom(name)


@pytest.mark.parametrize("options", [ERLPORT, DEFAULT], ids=["erlport", "py"])
@pytest.mark.parametrize("name", ["ok", "", "caf\xe9", "\u2603", "true", "undefined"])
def test_an_atom_encodes_as_that_of_erl(erlterms: ModuleType, name: str, options: Options) -> None:
    for value in (erlterms.Atom(name), [erlterms.Atom(name)], (1, erlterms.Atom(name))):
        assert codec.encode(value, options) == codec.encode(_with_atom(value), options)


def _with_atom(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_atom, value))
    return Atom(value.decode("latin-1")) if isinstance(value, bytes) else value


def test_a_list_reads_as_text(erlterms: ModuleType) -> None:
    assert erlterms.List([104, 105]).to_string() == "hi"
    assert erlterms.List([0x2603]).to_string() == "\u2603"
    assert erlterms.List([1]) == [1]
    for bad in ([-1], ["a"], [[1]]):
        with pytest.raises((ValueError, TypeError)):
            erlterms.List(bad).to_string()


def test_an_opaque_object_is_known_by_isinstance(erlterms: ModuleType) -> None:
    opaque = erlterms.OpaqueObject(b"a\1", erlterms.Atom(b"erlang"))
    assert isinstance(opaque, erlterms.OpaqueObject)
    assert (opaque.data, opaque.language) == (b"a\1", b"erlang")
    assert codec.encode(opaque, ERLPORT) == b"\x83a\1"
    assert isinstance(terms.Pid(b""), erlterms.OpaqueObject)
    assert not isinstance(b"", erlterms.OpaqueObject)
    ruby = erlterms.OpaqueObject(b"x", erlterms.Atom(b"ruby"))
    assert type(ruby) is erlterms.OpaqueObject
    assert repr(ruby) == "OpaqueObject(b'x', Atom(b'ruby'))"
    for data, language in [(b"", "ruby"), (b"", b"ruby"), ([1], erlterms.Atom(b"ruby"))]:
        with pytest.raises(TypeError, match="opaque object"):
            erlterms.OpaqueObject(data, language)


def test_one_atom_stands_for_a_name(erlterms: ModuleType) -> None:
    atom = erlterms.Atom(b"kept")
    for number in range(30_000):
        erlterms.Atom(b"passing %d" % number)
    assert erlterms.Atom(b"kept") is erlterms.Atom(atom) is atom
    assert erlterms.Atom("kept") is atom
    assert pickle.loads(pickle.dumps(atom)) is atom
    assert codec.decode(b"\x83d\0\4kept", ERLPORT) is codec.decode(b"\x83w\4kept", ERLPORT) is atom
    assert len(erlterms.Atom._interned) < 20_000


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.append(1),
        lambda value: value.clear(),
        lambda value: value.extend([1]),
        lambda value: value.insert(0, 1),
        lambda value: value.pop(),
        lambda value: value.remove(1),
        lambda value: value.reverse(),
        lambda value: value.sort(),
        lambda value: operator.setitem(value, 0, 2),
        lambda value: operator.delitem(value, 0),
    ],
)
def test_a_list_that_came_is_not_changed(erlterms: ModuleType, change: Callable[[Any], object]) -> None:
    for value in (erlterms.List([1]), erlterms.ImproperList([1], 2), codec.decode(b"\x83k\0\1\1", ERLPORT)):
        with pytest.raises(erlterms.MutationError, match="can't be changed"):
            change(value)
        assert list(value) == [1]


def test_an_improper_list_is_as_erlports(erlterms: ModuleType) -> None:
    improper = erlterms.ImproperList([[1], 2], 3)
    assert type(improper[0]) is erlterms.List
    assert (improper, hash(improper)) == (
        erlterms.ImproperList([[1], 2], 3),
        hash(erlterms.ImproperList([[1], 2], 3)),
    )
    assert improper != erlterms.ImproperList([[1], 2], 4)
    for attribute in ("tail", "x"):
        with pytest.raises(erlterms.MutationError):
            setattr(improper, attribute, 1)
    for elements, tail, refused in [("ab", 1, TypeError), ([1], [2], TypeError), ([], 1, ValueError)]:
        with pytest.raises(refused):
            erlterms.ImproperList(elements, tail)


def test_an_own_list_comes_of_what_makes_one(erlterms: ModuleType) -> None:
    value = kept = erlterms.List([1])
    value += [2]
    assert (value, type(value), kept) == ([1, 2], list, [1])
    value = kept
    value *= 2
    assert (value, type(value), kept) == ([1, 1], list, [1])
    assert [type(made) for made in (kept + [1], kept[:], kept.copy(), sorted(kept))] == [list] * 4  # noqa: RUF005
    value = kept = erlterms.Map({1: 2})
    value |= {3: 4}
    assert (value, type(value), kept) == ({1: 2, 3: 4}, dict, {1: 2})
    assert [type(made) for made in (kept | {1: 1}, kept.copy(), dict(kept))] == [dict] * 3


def test_lists_and_maps_are_keys(erlterms: ModuleType) -> None:
    key = erlterms.List([1, [2, {3: [4]}]])
    assert hash(key) == hash(erlterms.List([1, [2, {3: [4]}]]))
    assert {key: 1}[erlterms.List([1, [2, {3: [4]}]])] == 1
    assert (type(key[1]), type(key[1][1]), type(key[1][1][3])) == (
        erlterms.List,
        erlterms.Map,
        erlterms.List,
    )
    one, other = erlterms.Map({1: [1], "a": 2}), erlterms.Map([("a", 2), (1, [1])])
    assert one == other == {1: [1], "a": 2}
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert erlterms.Map(foo="bar") == {"foo": "bar"}
    assert erlterms.Map([("x", "y")], foo="bar") == {"x": "y", "foo": "bar"}
    assert repr(erlterms.Map({1: [2]})) == "Map({1: List([2])})"


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.clear(),
        lambda value: value.pop(1),
        lambda value: value.popitem(),
        lambda value: value.setdefault(3, 1),
        lambda value: value.update({1: 1}),
        lambda value: operator.setitem(value, 1, 3),
        lambda value: operator.delitem(value, 1),
    ],
)
def test_a_map_is_not_changed(erlterms: ModuleType, change: Callable[[Any], object]) -> None:
    for value in (erlterms.Map({1: 2}), codec.decode(b"\x83t\0\0\0\1a\1a\2", ERLPORT)):
        with pytest.raises(erlterms.MutationError):
            change(value)
        assert value == {1: 2}


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_erlports_values_are_copied_and_pickled(erlterms: ModuleType, copied: Callable[[Any], Any]) -> None:
    atom = erlterms.Atom(b"a")
    values = [
        atom,
        erlterms.List([1, [2]]),
        erlterms.Map({atom: [1]}),
        erlterms.ImproperList([1], atom),
        erlterms.OpaqueObject(b"x", atom),
    ]
    for value in values:
        made = copied(value)
        assert (type(made), made) == (type(value), value)


def test_an_opaque_object_is_decoded_and_encoded(erlterms: ModuleType) -> None:
    atom, made = erlterms.Atom, erlterms.OpaqueObject
    assert made.decode(b"data", atom(b"ruby")) == made(b"data", atom(b"ruby"))
    assert made.decode(pickle.dumps(b"test", 2), atom(b"python")) == b"test"
    assert made(b"a\1", atom(b"erlang")).encode() == b"a\1"
    term = (atom(b"$erlport.opaque"), atom(b"ruby"), b"data")
    assert made(b"data", atom(b"ruby")).encode() == erlterms.encode_term(term)
    assert made.marker == b"$erlport.opaque"
    one, other = made(b"data", atom(b"ruby")), made(b"data", atom(b"python"))
    assert one != other
    assert hash(one) == hash(made(b"data", atom(b"ruby")))
    assert made(b"data", atom(b"erlang")).encode() == b"data"
    with pytest.raises(ValueError, match="not an Erlang term"):
        erlterms.encode(made(b"data", atom(b"erlang")))


@pytest.mark.parametrize("compressed", [10, -1])
def test_a_level_of_compression_that_there_is_not_is_refused(erlterms: ModuleType, compressed: int) -> None:
    with pytest.raises(ValueError, match="level"):
        erlterms.encode([1], compressed)


def test_a_term_without_its_version_byte(erlterms: ModuleType) -> None:
    assert erlterms.encode_term({1: [2]}) == b"t\0\0\0\1a\1k\0\1\2"
    assert erlterms.decode_term(b"t\0\0\0\1a\1k\0\1\2rest") == ({1: [2]}, b"rest")
    with pytest.raises(erlterms.IncompleteData) as raised:
        erlterms.decode_term(b"k\0\2\1")
    assert raised.value.data == b"\x83k\0\2\1"


def test_the_redirected_streams_are_erlports(erlterms: ModuleType) -> None:
    from erlport.stdio import RedirectedStdin, RedirectedStdout

    class Port:
        def write(self, message: object) -> object:
            return message

    stdin, stdout = RedirectedStdin(), RedirectedStdout(Port())
    assert (stdin.fileno(), stdin.isatty(), stdin.closed, stdin.name, stdin.mode) == (
        0,
        True,
        True,
        "<stdin>",
        "r",
    )
    for read in (stdin.read, stdin.readline, stdin.readlines, stdin.flush):
        with pytest.raises(ValueError, match=r"."):
            read()
    assert stdout.write("data") == stdout.writelines(["da", "ta"]) == (b"P", "data")
    assert (stdout.fileno(), stdout.isatty(), stdout.encoding, stdout.flush()) == (1, True, "UTF-8", None)
    for bad in (lambda: stdout.write(1), lambda: stdout.writelines(["a", 1])):
        with pytest.raises(TypeError):
            bad()
    stdout.close()
    with pytest.raises(ValueError, match="closed"):
        stdout.write("data")


def test_every_name_that_erlports_users_import_is_there(erlterms: ModuleType) -> None:
    import erlport
    from erlport import cli, erlang, stdio

    for module, names in [
        (erlport, "Atom List ImproperList erlang erlterms stdio __version__"),
        (erlterms, "Atom List Map ImproperList OpaqueObject MutationError IncompleteData"),
        (erlterms, "encode decode encode_term decode_term"),
        (
            erlang,
            "Atom Error InvalidMessage UnknownMessage UnexpectedMessage UnexpectedResponses DuplicateMessageId "
            "CallError call cast self make_ref set_encoder set_decoder set_message_handler "
            "set_default_encoder set_default_decoder set_default_message_handler",
        ),
        (stdio, "RedirectedStdin RedirectedStdout redirect"),
        (cli, "main"),
    ]:
        assert [name for name in names.split() if not hasattr(module, name)] == []


@pytest.mark.parametrize("compressed", [False, True, 0, 9])
def test_encode_and_decode_are_each_others_inverse(erlterms: ModuleType, compressed: bool | int) -> None:
    atom, improper = erlterms.Atom(b"a"), erlterms.ImproperList([1], 2)
    content = erlterms.Map({erlterms.List(b"k"): {atom: [1]}})
    value = [atom, 1.5, b"b" * 500, erlterms.List([1, 300]), (None, True), improper, content]
    data = erlterms.encode(value, compressed)
    assert (data[:2] == b"\x83P") is bool(compressed)
    assert erlterms.decode(data) == (value, b"")
    assert erlterms.decode(data + b"rest") == (value, b"rest")
    term, _ = erlterms.decode(data)
    assert (type(term), type(term[0])) == (erlterms.List, erlterms.Atom)
    for end in range(len(data)):
        with pytest.raises(erlterms.IncompleteData):
            erlterms.decode(data[:end])


@pytest.mark.parametrize("junk", [b"\x82a\1", b"\x83\1", b"\x83P\0\0\0\1junk", b"junk"])
def test_decode_refuses_what_is_no_term(erlterms: ModuleType, junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"term|tag"):
        erlterms.decode(junk)


def test_a_pickle_that_erlports_own_python_made_is_read(erlterms: ModuleType) -> None:
    """`{Atom(b"a"): 1}`, as ErlPort 0.10 pickles it."""
    pickled = (
        b"\x80\2}q\0cerlport.erlterms\nAtom\nq\1c_codecs\nencode\nq\2X\1\0\0\0aq\3X\6\0\0\0latin1q\4"
        b"\x86q\5Rq\6\x85q\7\x81q\x08K\1s."
    )
    assert pickle.loads(pickled) == {erlterms.Atom(b"a"): 1}


# How it is found


def test_the_package_is_found_in_the_process_that_serves_and_costs_its_start_nothing() -> None:
    with erlport() as python:
        python.call(1, "erlport_probe", "loaded", [])
        assert python.answer(1) == []
        python.call(2, "erlport_talk", "heard", [])
        assert python.answer(2) == []
        python.call(3, "erlport_probe", "loaded", [])
        assert [bytes(name) for name in python.answer(3)] == [  # type: ignore[attr-defined, call-overload]
            b"erlport",
            b"erlport.erlang",
            b"erlport.erlterms",
        ]


def test_a_bare_directory_of_the_name_does_not_hide_the_package(tmp_path: Path) -> None:
    (tmp_path / "erlport").mkdir()
    (tmp_path / "erlport" / "notes.txt").write_text("nothing to import\n")
    for flags in ((), ("--py",)):
        with Conversation(*flags, directory=tmp_path, options=ERLPORT if not flags else DEFAULT) as python:
            python.call(1, "erlport_talk", "text_of", [[104, 105]])
            assert python.answer(1) == b"hi"


def test_erlports_own_package_is_passed_over(tmp_path: Path) -> None:
    """What ErlPort's Erlang side puts in front of `PYTHONPATH` knows nothing of the process that serves."""
    package = tmp_path / "erlport"
    package.mkdir()
    for name in ("__init__", "erlproto", "erlterms", "erlang"):
        (package / f"{name}.py").write_text("raise ImportError('theirs')\n")
    with erlport() as python:
        python.call(1, "erlport_probe", "add_to_path", [str(tmp_path).encode(), True])
        python.answer(1)
        python.call(2, "erlport_talk", "text_of", [[104, 105]])
        assert python.answer(2) == b"hi"


@both_codecs
def test_an_interpreter_without_erlang_py_serves_with_erlports_mapping(compiled: bool) -> None:
    """ErlPort wraps what erlang-py is for: `{python, "python3"}` asks for none."""
    pid = b"Xd\0\rnonode@nohost\0\0\0\x09\0\0\0\0\0\0\0\0"
    wrapped = (Atom("$erlport.opaque"), Atom("erlang"), pid)
    with Conversation(options=ERLPORT, compiled=compiled, without=("erlang",)) as python:
        python.call(1, "operator", "getitem", [(wrapped,), 0])
        assert python.receive_frame() == b"\x83h\3d\0\1ra\1" + pid
        older = b"gd\0\rnonode@nohost\0\0\0\x09\0\0\0\0\0"
        python.call(2, "operator", "getitem", [(terms.Pid(older),), 0])
        _, _, error = python.receive()
        assert b"needs erlang-py" in bytes(error[2])  # type: ignore[index]
        python.call(3, "erlport_talk", "text_of", [[104, 105]])
        assert python.answer(3) == b"hi"


@pytest.mark.parametrize("arguments", [("-u", "-m", "erlport.cli"), ("-u",), ("-m", "erl")])
def test_the_arguments_that_erlport_puts_first_are_passed_over(arguments: tuple[str, ...]) -> None:
    """`{python, "python3 -m erl"}`, under ErlPort's Erlang side."""
    with Conversation(*arguments, "--packet=4", "--use_stdio", options=ERLPORT) as python:
        python.call(1, "operator", "add", [1, 2])
        assert python.answer(1) == 3


def test_an_erlport_that_comes_to_the_path_later_is_taken_before_ours(tmp_path: Path) -> None:
    (tmp_path / "erlport.py").write_text("whose = 'theirs'\n")
    with erlport() as python:
        python.call(1, "erlport_probe", "add_to_path", [str(tmp_path).encode()])
        python.answer(1)
        python.call(2, "erlport", "whose.upper", [])
        assert bytes(python.answer(2)) == b"THEIRS"  # type: ignore[arg-type, call-overload]


def test_outside_a_worker_the_functions_say_so(erlterms: ModuleType) -> None:
    from erlport import erlang

    with pytest.raises(errors.BridgeError, match="worker"):
        erlang.self()
    for setter in (erlang.set_encoder, erlang.set_decoder, erlang.set_message_handler):
        with pytest.raises(TypeError, match="function"):
            setter(5)
