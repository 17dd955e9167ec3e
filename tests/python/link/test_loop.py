"""The link of a front, against a socket that answers what no node of ours would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from erl import codec
from erl.link import loop, protocol
from erl.link.protocol import OPTIONS
from erl.terms import Atom

SECONDS = 60


def test_an_end_that_has_no_python_value_fails_its_call(tmp_path: Path) -> None:
    stale = (Atom("$py.shm"), (Atom("n@h"), b"0123456789abcdef-1-10", (0, 10), Atom("bytes")))
    path = str(tmp_path / "node.sock")
    is_over = asyncio.Event()

    async def node(reader: Any, writer: Any) -> None:
        await frame_of(reader)
        writer.write(protocol.message("hello", protocol.VERSION, {}))
        id_ = codec.decode(await frame_of(reader), OPTIONS)[1]
        said = (Atom("failed"), id_, stale, b"it has failed")
        writer.write(
            protocol.framed(b"\x83h\x04" + b"".join(codec.encode(each, OPTIONS)[1:] for each in said))
        )
        writer.write(protocol.message("print", b"more"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_over.set()

    async def asked() -> None:
        server = await asyncio.start_unix_server(node, path)
        Path(path).chmod(0o600)
        async with server:
            link = await loop.connected(path, lambda why: None)
            _, future = link.call(
                protocol.Calls(protocol.route(None), protocol.body_head("math", "sqrt")), b""
            )
            try:
                await asyncio.wait_for(future, SECONDS)
            finally:
                link._transport.close()
                await asyncio.wait_for(is_over.wait(), SECONDS)

    with pytest.raises(loop.FailedError) as raised:
        asyncio.run(asked())
    assert raised.value.reason == "protocol"


async def frame_of(reader: Any) -> bytes:
    frame: bytes = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    return frame
