"""A node with a page, for the tests of what is seen and asked there."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from waiting import eventually

import erl
from erl.terms import Atom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from erl.link.node import Node

SECONDS = 60.0
REASON = "uvicorn or starlette is not installed: scripts/setup serve"


def is_servable() -> bool:
    return find_spec("uvicorn") is not None and find_spec("starlette") is not None


def until(condition: Callable[[], Any]) -> Any:
    """What a condition is as soon as it is true."""
    return eventually(condition, SECONDS)


class Page:
    """A node with a page, from outside: its URL, HTTP, and the node itself to make something to see."""

    def __init__(self, url: str, node: Node) -> None:
        self.url = url
        parts = urlsplit(url)
        self.address = ("127.0.0.1", parts.port or 0)
        self.host = parts.netloc
        self.base = f"http://{parts.netloc}"
        self.token = parts.query.partition("=")[2]
        self.node = node
        self.cookie = ""

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        """An answer: its status, headers and body. The cookie goes along once there is one."""
        given = {"Cookie": self.cookie} if self.cookie else {}
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def act(self, path: str, body: bytes = b"{}", **changed: str | None) -> tuple[int, bytes]:
        """A POST as the page's own script sends it, with some headers changed or left out."""
        own = {"Host": self.host, "Origin": self.base, "X-Py-Page": "1", "Content-Type": "application/json"}
        own |= {"Cookie": self.cookie, "Content-Length": str(len(body))}
        headers = {name: value for name, value in {**own, **changed}.items() if value is not None}
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def enter(self) -> None:
        """Give the token for a cookie."""
        status, headers, _ = self.ask("GET", f"/?token={self.token}")
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]

    def run(self, module: str, called: str, arguments: list[Any], **options: Any) -> str:
        """Begin a durable run; its id."""
        spelled = {Atom(name): value for name, value in options.items()}
        return str(
            self.node.call("py_run", "start", [Atom(module), Atom(called), arguments, spelled])[1], "ascii"
        )

    def state(self, run: str) -> str:
        """A run's state, as the node has it."""
        return str(self.node.call("py_run", "get", [run.encode()])[1][Atom("state")])


@contextlib.contextmanager
def served(directory: Path, *more: str, pools: str = '{"default": {"size": 1}}') -> Iterator[Page]:
    """A node of its own with a page."""
    file = directory / "pools.json"
    file.write_text(pools)
    state = directory / "state"
    command = [
        sys.executable,
        "-m",
        "erl",
        "node",
        "--page",
        "--state-dir",
        str(state),
        "--pools",
        str(file),
        *more,
    ]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"the page: (http://\S+)\n", line)
        assert found, (line, (directory / "log").read_text())
        with erl.connect(str(state / "node.sock")) as node:
            yield Page(found[1], node)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
