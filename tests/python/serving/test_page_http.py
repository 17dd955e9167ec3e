"""The page over HTTP, by those who may and by those who may not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from page_node import REASON, SECONDS, Page, is_servable, served, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not is_servable(), reason=REASON)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with served(tmp_path_factory.mktemp("page"), "--page-host", "node.example") as page:
        page.enter()
        yield page


@contextlib.contextmanager
def events(page: Page) -> Iterator[Any]:
    """The stream of events, as lines."""
    with socket.create_connection(page.address, timeout=SECONDS) as connected:
        request = f"GET /events HTTP/1.1\r\nHost: {page.host}\r\nCookie: {page.cookie}\r\n\r\n"
        connected.sendall(request.encode())
        with connected.makefile("rb") as lines:
            yield lines


def next_view(lines: Any) -> dict[str, Any]:
    while line := lines.readline():
        if line.startswith(b"data: "):
            return dict(json.loads(line[6:]))
    raise AssertionError("the stream has ended")


# Who gets in


def test_without_a_cookie_nothing_of_the_node_is_seen(page: Page) -> None:
    stranger = Page(page.url, page.node)
    run = "0" * 32
    for path in ("/", "/events", "/runs", f"/runs/{run}", f"/runs/{run}/log", "/-/metrics", "/nothing"):
        status, headers, body = stranger.ask("GET", path)
        assert (status, "set-cookie" in headers) == (401, False), path
        assert b"No entry yet" in body
    assert stranger.act(f"/runs/{run}/stop")[0] == 401
    assert stranger.act("/workers/restart")[0] == 401


@pytest.mark.parametrize(
    "query",
    ["token=", "token=0", "token=" + "0" * 64, "token=" + "0" * 100_000, "token=%00", "Token=1", "x=1"],
)
def test_another_token_lets_nobody_in(page: Page, query: str) -> None:
    stranger = Page(page.url, page.node)
    status, headers, _ = stranger.ask("GET", f"/?{query}")
    assert (status in (400, 401), "set-cookie" in headers) == (True, False)


@pytest.mark.parametrize(
    "cookie", ["{name}=", "{name}=x", "{name}=9999999999.00.00", "=", "other=1", "{name}={value}0"]
)
def test_another_cookie_lets_nobody_in(page: Page, cookie: str) -> None:
    name, _, value = page.cookie.partition("=")
    stranger = Page(page.url, page.node)
    stranger.cookie = cookie.format(name=name, value=value)
    assert stranger.ask("GET", "/")[0] == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(page: Page) -> None:
    stranger = Page(page.url, page.node)
    _, headers, body = stranger.ask("GET", f"/?token={page.token}")
    attributes = {each.strip().lower() for each in headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert page.token.encode() not in body
    # A HEAD is what programs ask that look at links.
    assert "set-cookie" not in stranger.ask("HEAD", f"/?token={page.token}")[1]


def test_every_answer_has_the_policy(page: Page) -> None:
    stranger = Page(page.url, page.node)
    answers = [
        asked.ask("GET", path) for asked in (page, stranger) for path in ("/", "/page.js", "/none", "/runs")
    ]
    answers += [
        page.ask("GET", "/", {"Host": "evil.example"}),
        page.ask("POST", "/"),
        page.ask("OPTIONS", "/"),
    ]
    for _, headers, _ in answers:
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_the_page_has_no_script_or_style_but_its_files(page: Page) -> None:
    text = page.ask("GET", "/")[2].decode()
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/page.js" defer>']
    assert "<style" not in text
    assert not re.search(r"\son[a-z]+=|style=", text)
    script = page.ask("GET", "/page.js")[2].decode()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script
    )


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
def test_another_name_is_refused_whoever_asks(page: Page, host: str) -> None:
    given = host.format(port=page.address[1])
    for path in ("/", "/page.js", f"/?token={page.token}", "/events"):
        assert page.ask("GET", path, {"Host": given})[0] == 421
    assert page.act("/workers/restart", Host=given, Origin=f"http://{given}")[0] == 421


def test_two_names_are_none(page: Page) -> None:
    with socket.create_connection(page.address, timeout=SECONDS) as connected:
        connected.sendall(f"GET / HTTP/1.1\r\nHost: {page.host}\r\nHost: evil.example\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 4\d\d ", connected.recv(1_000))


# What may be done


def test_a_run_is_stopped_by_the_page_and_by_nobody_else(page: Page) -> None:
    run = page.run("time", "sleep", [600])
    until(lambda: page.state(run) == "RUNNING")
    path = f"/runs/{run}/stop"
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert page.ask(method, path, {"X-Py-Page": "1", "Origin": page.base})[0] == 405, method
    changes: list[dict[str, str | None]] = [
        {"Origin": None},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"X-Py-Page": None},
        {"Sec-Fetch-Site": "cross-site"},
    ]
    for changed in changes:
        assert page.act(path, **changed)[0] == 403, changed
    assert page.act(path, Cookie=None)[0] in (400, 401)
    assert page.state(run) == "RUNNING"
    assert page.act(path)[0] == 200
    until(lambda: page.state(run) == "STOPPED")
    # What has ended can't be stopped, which is said.
    status, text = page.act(path)
    assert (status, b"STOPPED" in text) == (409, True)


def test_a_worker_is_given_a_new_interpreter(page: Page) -> None:
    with events(page) as lines:
        (name, row), *_ = next_view(lines)["rows"]["workers"].items()
    assert page.act("/workers/restart", json.dumps({"worker": name}).encode())[0] == 200

    def has_another() -> bool:
        with events(page) as lines:
            workers = next_view(lines)["rows"]["workers"]
        return any(each["os_pid"] not in (None, row["os_pid"]) for each in workers.values())

    until(has_another)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"worker": 1}', 400),
        (b'{"worker": null}', 400),
        (b"\xff", 400),
        (b"[" * 4_000, 400),
        (b'{"worker": "' + b"x" * 1_000_000 + b'"}', 400),
        (b'{"worker": "<0.0.0>"}', 404),
        (b'{"worker": "\\ud800"}', 404),
    ],
)
def test_a_worker_that_is_none_is_refused(page: Page, body: bytes, status: int) -> None:
    assert page.act("/workers/restart", body)[0] == status


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/page_files/page.js",
        "/page.js/../page.html",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/runs/..%2f..%2f",
        "/runs/" + "0" * 31,
        "/runs/" + "A" * 32,
        "/runs/" + "0" * 32,
        "/runs/" + "0" * 32 + "/log",
        "/runs/" + "0" * 32 + "/../../journal",
        "/" + "x" * 10_000,
    ],
)
def test_there_is_nothing_at_other_paths(page: Page, path: str) -> None:
    status, _, body = page.ask("GET", path)
    assert status in (400, 404)
    assert b"root:" not in body


@pytest.mark.parametrize(
    "query", ["state=", "state=DONE", "state=..", "before=1", "before=" + "z" * 32, "state=ERROR%00"]
)
def test_runs_that_are_none_are_refused(page: Page, query: str) -> None:
    assert page.ask("GET", f"/runs?{query}")[0] == 400


# What is seen


def test_a_run_is_seen_with_its_message_and_log_whatever_they_hold(page: Page) -> None:
    text = "<script>alert(1)</script>\r\n\r\nevent: view\ndata: {}\x00\x1b[2J" + "x" * 1_000_000
    run = page.run(
        "builtins",
        "exec",
        [f"print('\\udcff' + {text!r}); raise ValueError({text!r})"],
        function="<b>&\"'</b>",
    )
    until(lambda: page.state(run) == "ERROR")
    status, headers, body = page.ask("GET", f"/runs/{run}")
    shown = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert shown["function"] == "<b>&\"'</b>"
    assert "<script>alert(1)</script>" in shown["message"]
    assert len(body) < 20_000
    log = json.loads(page.ask("GET", f"/runs/{run}/log")[2])
    assert len(log["text"]) <= 65_536 < log["bytes"]
    with events(page) as lines:
        while not (row := next_view(lines)["rows"].get("runs", {}).get(run)):
            pass
    assert (row["state"], len(row["message"]) < 400) == ("ERROR", True)
    rows = json.loads(page.ask("GET", "/runs?state=ERROR")[2])
    assert run in rows
    assert run not in json.loads(page.ask("GET", f"/runs?before={run}")[2])


def test_metrics_are_for_the_cookie_or_the_token(page: Page) -> None:
    status, headers, body = page.ask("GET", "/-/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'py_pool_workers{pool="default"} 1\n' in body
    stranger = Page(page.url, page.node)
    assert stranger.ask("GET", "/-/metrics", {"Authorization": f"Bearer {page.token}"})[0] == 200
    assert stranger.ask("GET", "/-/metrics", {"Authorization": "Bearer 0"})[0] == 401
    # It opens nothing else.
    assert stranger.ask("GET", "/runs", {"Authorization": f"Bearer {page.token}"})[0] == 401


def test_a_hundred_browsers_look_while_one_reads_nothing(page: Page) -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        deaf.connect(page.address)
        deaf.sendall(f"GET /events HTTP/1.1\r\nHost: {page.host}\r\nCookie: {page.cookie}\r\n\r\n".encode())
        streams = [stack.enter_context(events(page)) for _ in range(100)]
        for lines in streams:
            assert next_view(lines)["full"]
        run = page.run("math", "sqrt", [4])
        for lines in streams:
            while run not in next_view(lines)["rows"].get("runs", {}):
                pass
        assert page.ask("GET", "/runs")[0] == 200
        # There is an end to it.
        more = [stack.enter_context(events(page)) for _ in range(40)]
        assert any(b" 503 " in lines.readline() for lines in more)
    # They have left: others may look.
    until(lambda: _is_shown(page))


def _is_shown(page: Page) -> bool:
    with events(page) as lines:
        return b" 200 " in lines.readline()


def test_half_open_connections_hurt_nobody(page: Page) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            half = stack.enter_context(socket.create_connection(page.address, timeout=SECONDS))
            if number % 2:
                half.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert page.ask("GET", "/runs")[0] == 200
        assert _is_shown(page)


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX\x00: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_gets_no_page(page: Page, request_: bytes) -> None:
    with socket.create_connection(page.address, timeout=SECONDS) as connected:
        with contextlib.suppress(OSError):
            connected.sendall(request_.replace(b"{host}", page.host.encode()))
            connected.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connected.recv(65_536):
                answer += data
    assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
    assert page.ask("GET", "/runs")[0] == 200


def test_the_python_of_the_page_dies_and_the_cookie_stays_valid(page: Page) -> None:
    os_pid = next(
        int(name)
        for name in os.listdir("/proc")
        if name.isdecimal() and _is_page_of(int(name), page.node.status()["os_pid"])
    )
    with events(page) as lines:
        next_view(lines)
        os.kill(os_pid, signal.SIGKILL)
        with contextlib.suppress(AssertionError, OSError):
            while next_view(lines):
                pass

    def is_back() -> bool:
        with contextlib.suppress(OSError):
            return bool(page.ask("GET", "/runs")[0] == 200)
        return False

    until(is_back)
    assert _is_shown(page)


def _is_page_of(os_pid: int, beam: int) -> bool:
    try:
        with open(f"/proc/{os_pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
        with open(f"/proc/{os_pid}/stat", encoding="ascii", errors="replace") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return b"page" in arguments and _reaches(parent, beam)


def _reaches(os_pid: int, beam: int) -> bool:
    while os_pid > 1:
        if os_pid == beam:
            return True
        with open(f"/proc/{os_pid}/stat", encoding="ascii", errors="replace") as file:
            os_pid = int(file.read().rpartition(")")[2].split()[1])
    return False


def test_a_node_that_is_killed_takes_the_page_along(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        page.enter()
        beam = page.node.status()["os_pid"]
        left = [
            int(name) for name in os.listdir("/proc") if name.isdecimal() and _is_page_of(int(name), beam)
        ]
        assert len(left) == 1
        os.kill(beam, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{left[0]}"))


def test_names_that_the_command_gives_are_the_pages(page: Page) -> None:
    assert page.ask("GET", "/", {"Host": f"node.example:{page.address[1]}"})[0] == 200
    assert page.ask("GET", "/", {"Host": f"other.example:{page.address[1]}"})[0] == 421


def test_many_ask_at_once_and_each_is_answered(page: Page) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(page.ask("GET", "/runs")[0])

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(statuses) == 60
    # More than the node takes at a time are told to come again.
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
