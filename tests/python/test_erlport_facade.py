"""ErlPort's Python API on top of `erl`: conversations byte for byte, its types, its functions, and how it is found."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conversation import Conversation

from erl import __main__ as program
from erl import codec, decoders, errors, terms
from erl.codec import Options
from erl.terms import Atom

VECTORS = Path(__file__).parents[1] / "vectors" / "conversations.txt"
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


def erlport(*flags: str, packet: int = 4) -> Conversation:
    return Conversation(f"--packet={packet}", "--use_stdio", *flags, packet=packet, options=ERLPORT)


def talk(python: Conversation, lines: list[tuple[str, bytes]]) -> None:
    for direction, frame in lines:
        if direction == ">":
            python.send_frames(frame)
        else:
            assert python.receive_frame() == frame


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_has_the_bytes_of_its_vector(name: str) -> None:
    with erlport("--compressed=0", "--buffer_size=65536") as python:
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
        assert bool(error[3]) is (packet == 2)  # type: ignore[index]
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


def test_messages_are_of_erlports_types() -> None:
    with erlport() as python:
        python.call(1, "erlport_probe", "listen", [])
        python.answer(1)
        python.send((Atom("M"), Atom("green")), (Atom("M"), [1]), (Atom("M"), b"x"))
        python.call(2, "erlport_probe", "kinds_heard", [])
        assert [bytes(kind) for kind in python.answer(2)] == [b"BytesAtom", b"List", b"bytes"]  # type: ignore[attr-defined, call-overload]


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
    sys.meta_path.append(program._ErlPortFinder)  # type: ignore[arg-type]
    try:
        import erlport.erlterms

        yield erlport.erlterms
    finally:
        sys.meta_path.remove(program._ErlPortFinder)  # type: ignore[arg-type]
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
    with pytest.raises(ValueError, match="ruby"):
        erlterms.OpaqueObject(b"", "ruby")


@pytest.mark.parametrize("compressed", [False, True, 0, 9])
def test_encode_and_decode_are_each_others_inverse(erlterms: ModuleType, compressed: bool | int) -> None:
    atom, improper = erlterms.Atom(b"a"), erlterms.ImproperList([1], 2)
    value = [atom, 1.5, b"b" * 500, erlterms.List([1, 300]), (None, True), improper]
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
