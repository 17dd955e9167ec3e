"""A real `python -m erl` at the other end of two pipes, for tests that speak the protocol themselves."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from erl import codec
from erl.codec import Options
from erl.terms import Atom

PACKAGES = Path(__file__).parents[2] / "python"
ANSWER_SECONDS = 20.0
WITHOUT_COMPILED = "import sys; sys.modules['erl.codec.native'] = None; from erl.__main__ import main; main()"
WITHOUT = "import sys; sys.modules.update({!r}); from erl.__main__ import main; main()"


class Conversation:
    """Starts the port program with these flags; ends it, by its own pid, with the block."""

    def __init__(
        self,
        *flags: str,
        packet: int = 4,
        shell: str | None = None,
        options: Options | None = None,
        compiled: bool = True,
        without: tuple[str, ...] = (),
        directory: Path | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.packet = packet
        self.options = options if options is not None else Options.from_flags(4)
        program = ["-m", "erl"] if compiled else ["-c", WITHOUT_COMPILED]
        if without:
            hidden = (*without, *(() if compiled else ("erl.codec.native",)))
            program = ["-c", WITHOUT.format(dict.fromkeys(hidden))]
        command = [sys.executable, *program, *flags]
        if shell is not None:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        if descriptors is not None:
            command = ["sh", "-c", 'ulimit -n "$1"; shift; exec "$@"', "sh", str(descriptors), *command]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(PACKAGES), str(Path(__file__).parent)]),
        }
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=directory,
        )
        self._input = bytearray()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def send(self, *terms: object) -> None:
        """Send messages together, in one write."""
        self.send_frames(*[codec.encode(term, self.options) for term in terms])

    def send_frames(self, *frames: bytes) -> None:
        self.send_bytes(b"".join(len(frame).to_bytes(self.packet, "big") + frame for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def call(self, id_: int, module: str, function: str, args: list[object]) -> None:
        self.send((Atom("C"), id_, Atom(module), Atom(function), args))

    def receive_frame(self) -> bytes:
        """The next frame. Fails the test after `ANSWER_SECONDS`."""
        deadline = time.monotonic() + ANSWER_SECONDS
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while True:
            size = int.from_bytes(self._input[: self.packet], "big") + self.packet
            if len(self._input) >= max(size, self.packet):
                frame = bytes(self._input[self.packet : size])
                del self._input[:size]
                return frame
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no frame in time"
            data = os.read(fd, 1 << 20)
            assert data, f"the port program has left: {self.process.stderr.read().decode()}"  # type: ignore[union-attr]
            self._input += data

    def receive(self) -> tuple[object, ...]:
        """The next message."""
        term = codec.decode(self.receive_frame(), self.options)
        assert isinstance(term, tuple)
        return term

    def answer(self, id_: int) -> object:
        """The result of a call, which must be the next message."""
        message = self.receive()
        assert message[:2] == ("r", id_), message
        return message[2]
