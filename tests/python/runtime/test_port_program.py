"""`python -m erl` as a process: ErlPort's conversation byte for byte, and what user code may do to its descriptors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib

import pytest
from conversation import Conversation

from erl import codec
from erl.codec import Options
from erl.terms import Atom

ERLPORT = Options.from_flags(20)


def erlport(*flags: str, packet: int = 4, shell: str | None = None) -> Conversation:
    return Conversation(f"--packet={packet}", *flags, packet=packet, shell=shell, options=ERLPORT)


def test_a_call_with_erlports_flags_has_erlports_bytes() -> None:
    with erlport("--use_stdio", "--compressed=0", "--buffer_size=65536") as python:
        python.send_frames(
            bytes.fromhex("83680564000143 6101 6400086f70657261746f72 640003616464 6b00020102")
        )
        assert python.receive_frame() == bytes.fromhex("83680364000172 6101 6103")


@pytest.mark.parametrize("packet", [1, 2, 4])
def test_each_packet_length_is_served(packet: int) -> None:
    with erlport(packet=packet) as python:
        python.call(1, "operator", "add", [40, 2])
        assert python.answer(1) == 42


def test_the_protocol_may_be_on_descriptors_three_and_four() -> None:
    with erlport("--nouse_stdio", shell="3<&0 4>&1 0</dev/null 1>&2") as python:
        python.call(1, "operator", "add", [40, 2])
        assert python.answer(1) == 42


def test_compressed_answers_are_compressed_terms() -> None:
    with erlport("--compressed=9") as python:
        python.call(1, "operator", "mul", [[7], 10_000])
        frame = python.receive_frame()
        assert frame[:2] == b"\x83P"
        assert codec.decode(frame, ERLPORT) == (Atom("r"), 1, [7] * 10_000)


def test_what_erlport_can_not_hold_is_a_pickle_of_protocol_two() -> None:
    with erlport() as python:
        python.call(1, "builtins", "object", [])
        python.call(2, "builtins", "len", [[1, 2]])
        frame = python.receive_frame()
        assert bytes.fromhex("64000f246572 6c706f72742e6f7061717565") in frame
        assert b"\x80\x02" in frame
        assert python.answer(2) == 2


def test_calls_in_one_write_are_answered_in_order() -> None:
    with Conversation("--py") as python:
        python.send(*[(Atom("C"), i, Atom("operator"), Atom("add"), [i, 1]) for i in range(1, 501)])
        assert [python.answer(i) for i in range(1, 501)] == [i + 1 for i in range(1, 501)]


def test_a_slow_call_does_not_hold_back_the_answers_before_it() -> None:
    with Conversation("--py") as python:
        python.call(1, "operator", "add", [1, 1])
        python.answer(1)
        start = time.monotonic()
        python.send(
            (Atom("C"), 2, Atom("operator"), Atom("add"), [1, 1]),
            (Atom("C"), 3, Atom("time"), Atom("sleep"), [60]),
        )
        assert python.answer(2) == 2
        assert time.monotonic() - start < 30


def test_a_print_arrives_before_the_result_of_its_call() -> None:
    with Conversation("--py") as python:
        python.call(1, "builtins", "print", [[104, 105]])
        kind, text = python.receive()
        assert (kind, "".join(map(chr, text))) == ("P", "[104, 105]\n")  # type: ignore[arg-type]
        assert python.answer(1) is None


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_user_code_can_not_write_into_the_protocol(fd: int) -> None:
    with Conversation("--py") as python:
        python.call(1, "os", "write", [fd, b"junk"])
        python.receive()
        python.call(2, "operator", "add", [1, 2])
        assert python.answer(2) == 3


def test_a_subprocess_that_reads_and_writes_does_not_touch_the_protocol() -> None:
    with Conversation("--py") as python:
        python.call(1, "subprocess", "getoutput", [Atom("cat; echo out; echo to-one >&1")])
        assert "out" in "".join(map(chr, python.answer(1)))  # type: ignore[arg-type]
        python.call(2, "os", "system", [Atom("echo hi; cat")])
        assert python.answer(2) == 0


@pytest.mark.parametrize(
    "junk",
    [b"", b"\x83", b"\x83h\x05", b"junk", b"\x83w\x01x", b"\x83h\x05d\x00\x01Cw\x01x", bytes(1000)],
)
def test_a_junk_frame_is_reported_and_the_next_call_served(junk: bytes) -> None:
    with Conversation("--py") as python:
        python.send_frames(junk)
        python.call(2, "operator", "add", [1, 2])
        kind, error = python.receive()
        assert kind == "e"
        assert error[1] in ("erl.errors.DecodeError", "erl.errors.ProtocolError")  # type: ignore[index]
        assert python.answer(2) == 3


def test_arguments_that_can_not_be_read_fail_their_own_call() -> None:
    with Conversation("--py") as python:
        python.send_frames(
            bytes.fromhex("83 68 05 7701 43 6109 77086f70657261746f72 7703616464 6c 00000002 61 01")
        )
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 9, "erl.errors.DecodeError")  # type: ignore[index]


def test_exit_in_user_code_is_an_error_and_the_process_lives() -> None:
    with Conversation("--py") as python:
        python.call(1, "sys", "exit", [3])
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 1, "builtins.SystemExit")  # type: ignore[index]
        python.call(2, "operator", "add", [1, 2])
        assert python.answer(2) == 3


def test_a_call_of_erlang_lets_calls_nest() -> None:
    with Conversation("--py") as python:
        python.call(1, "erl", "call", [Atom("lists"), Atom("sum"), [[1, 2]]])
        message = python.receive()
        assert message[0] == "C"
        assert message[2:] == (Atom("lists"), Atom("sum"), [[1, 2]], 1)  # the call that asks
        python.call(2, "operator", "add", [1, 1])
        assert python.answer(2) == 2
        python.send((Atom("r"), message[1], 3))
        assert python.answer(1) == 3


def test_the_closed_port_ends_an_idle_process_in_good_order() -> None:
    with Conversation("--py") as python:
        python.call(1, "atexit", "register", [])
        python.receive()
        python.process.stdin.close()  # type: ignore[union-attr]
        assert python.process.wait(10) == 0


def test_the_closed_port_ends_a_busy_process() -> None:
    with Conversation("--py") as python:
        python.call(1, "operator", "add", [1, 1])
        python.answer(1)
        python.call(2, "time", "sleep", [60])
        python.process.stdin.close()  # type: ignore[union-attr]
        assert python.process.wait(10) == 0


@pytest.mark.parametrize(("flags", "text"), [(["--help"], "usage"), (["--check"], "codec")])
def test_it_says_what_it_is(flags: list[str], text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "erl", *flags], capture_output=True, text=True, timeout=30, check=True
    )
    assert text in done.stdout


@pytest.mark.parametrize("flag", ["--packet=3", "--compressed=x", "--buffer_size=0", "--what"])
def test_a_bad_flag_is_named(flag: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "erl", flag], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert flag in done.stderr


def interrupted_in_parts(python: Conversation, stream: bytes) -> None:
    """Send the stream in parts, and a few interruptions with each."""
    step = max(1, len(stream) // 40)
    for start in range(0, len(stream), step):
        python.send_bytes(stream[start : start + step])
        for _ in range(3):
            os.kill(python.process.pid, signal.SIGUSR1)


def large_call(id_: int) -> bytes:
    frame = codec.encode((Atom("C"), id_, Atom("zlib"), Atom("crc32"), [LARGE]), Options.from_flags(4))
    return len(frame).to_bytes(4, "big") + frame


LARGE = bytes(range(256)) * 12_000


def ask_erlang(python: Conversation, id_: int) -> None:
    python.call(id_, "erl", "call", [Atom("lists"), Atom("sum"), [[id_]]])
    question = python.receive()
    assert question[0] == "C"
    python.send((Atom("r"), question[1], id_))
    assert python.answer(id_) == id_


@pytest.mark.parametrize("compiled", [True, False])
def test_interruptions_leave_what_arrives_meanwhile_whole(compiled: bool) -> None:
    with Conversation("--py", compiled=compiled) as python:
        # Calls that have waited for Erlang, until they are trusted to be fast.
        for id_ in range(1, 6):
            ask_erlang(python, id_)
        # Between two calls.
        interrupted_in_parts(python, large_call(10))
        assert python.answer(10) == zlib.crc32(LARGE)
        # While one runs, in Python and in C.
        for id_, code in [(20, "sum(i for i in range(5_000_000))"), (30, "__import__('time').sleep(0.5)")]:
            python.call(id_, "builtins", "eval", [Atom(code)])
            interrupted_in_parts(python, large_call(id_ + 1))
            python.answer(id_)
            assert python.answer(id_ + 1) == zlib.crc32(LARGE)
        # While one waits for Erlang.
        python.call(40, "erl", "call", [Atom("lists"), Atom("sum"), [[40]]])
        question = python.receive()
        interrupted_in_parts(python, large_call(41))
        assert python.answer(41) == zlib.crc32(LARGE)
        python.send((Atom("r"), question[1], 40))
        assert python.answer(40) == 40


@pytest.mark.parametrize("compiled", [True, False])
def test_a_cancelled_call_that_prints_much_leaves_the_stream_whole(compiled: bool) -> None:
    with Conversation("--py", compiled=compiled) as python:
        for id_ in range(1, 4):
            ask_erlang(python, id_)
        for id_ in range(10, 20):
            python.call(id_, "printing", "print_for_ever", [])
            assert python.receive()[0] == "P"
            python.send_frames(b"\x83h\x02d\0\x01Xb" + id_.to_bytes(4, "big"))  # as the application spells it
            while True:
                os.kill(python.process.pid, signal.SIGUSR1)
                message = python.receive()
                if message[0] != "P":
                    break
                assert set(message[1]) <= {ord("x"), ord("\n")}  # type: ignore[call-overload]
            assert message[:2] == ("e", id_)
            assert message[2][1] == "erl.errors.CallCancelled"  # type: ignore[index]
        python.call(99, "operator", "add", [1, 2])
        assert python.answer(99) == 3


@pytest.mark.parametrize("compiled", [False, True])
def test_a_program_that_may_open_few_files_answers(compiled: bool) -> None:
    # So few that none has a number above those that user code expects to be free.
    with Conversation("--py", compiled=compiled, descriptors=40) as python:
        for number in range(3):
            python.send((Atom("C"), number, Atom("operator"), Atom("add"), [number, 1]))
            assert python.receive() == (Atom("r"), number, number + 1)
        python.send((Atom("C"), 4, Atom("os"), Atom("listdir"), [b"/proc/self/fd"]))
        assert len(python.receive()[2]) < 20
