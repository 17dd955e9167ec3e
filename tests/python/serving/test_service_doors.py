"""Who gets in to a service that others can reach: by TLS, by a token, by the name that it is called."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import erl
from erl import functions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="uvicorn is not installed: scripts/setup serve")
pytest.importorskip("requests", reason="requests is not installed: scripts/setup serve")

SECONDS = 60.0

SOURCE = "def handler(context, event):\n    return f'{event.method} {event.path}'\n"


# Where there is no openssl: a certificate, that of its root behind it, and its key.
ERLANG_MAKES = """
[Certificates, Keys] = init:get_plain_arguments(),
Names = {'Extension', {2, 5, 29, 17}, false, [{iPAddress, <<127, 0, 0, 1>>}, {dNSName, "localhost"}]},
Curve = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
Made = public_key:pkix_test_data(#{root => Curve, intermediates => [], peer => [{extensions, [Names]} | Curve]}),
[Certificate, {Kind, Key}, [Root | _]] = [proplists:get_value(Part, Made) || Part <- [cert, key, cacerts]],
Pem = fun(Entries) -> public_key:pem_encode([{Type, Der, not_encrypted} || {Type, Der} <- Entries]) end,
ok = file:write_file(Certificates, Pem([{'Certificate', Certificate}, {'Certificate', Root}])),
ok = file:write_file(Keys, Pem([{Kind, Key}])),
halt().
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of a certificate for 127.0.0.1 and localhost, and of its key, made by what there is."""
    directory = tmp_path_factory.mktemp("certificate")
    files = str(directory / "certificate.pem"), str(directory / "key.pem")
    if shutil.which("openssl"):
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        made += [
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            names,
            "-out",
            files[0],
            "-keyout",
            files[1],
        ]
        subprocess.run(made, check=True, capture_output=True)
    else:
        made = ["erl", "-noinput", "-eval", ERLANG_MAKES, "-extra", *files]
        subprocess.run(made, check=True, timeout=SECONDS)
    return files


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    state_dir = tmp_path_factory.mktemp("state")
    with erl.start({"default": {"size": 1}}, name=str(state_dir), state_dir=state_dir):
        project = functions.get_or_create_project("doors")
        yield project.new_function(name="door", kind="python", code=SOURCE, handler="handler")


def status(run: Any, headers: dict[str, str], path: str = "/") -> int:
    connection = HTTPConnection("127.0.0.1", urlsplit(run.status.service["url"]).port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_tls_is_spoken_where_a_certificate_is_given(function: Any, certificate: tuple[str, str]) -> None:
    import requests

    tls = {"certfile": certificate[0], "keyfile": certificate[1]}
    run = function.run("serve", replicas=1, ip="0.0.0.0", tls=tls)
    assert run.status.state == "RUNNING", run.status
    url = run.status.service["url"]
    assert url.startswith("https://127.0.0.1:")
    assert run.invoke(verify=certificate[0], url="/tea").text == "GET /tea"
    # Who does not know the certificate does not believe it, and what is no TLS is not answered.
    with pytest.raises(requests.exceptions.SSLError):
        run.invoke()
    port = urlsplit(url).port
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)):
        requests.get(f"http://127.0.0.1:{port}/", timeout=SECONDS)
    # The name is looked at there, too.
    context = ssl.create_default_context(cafile=certificate[0])
    connection = HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
    connection.request("GET", "/", headers={"Host": "elsewhere.example"})
    assert connection.getresponse().status == 421
    connection.close()
    run.stop()


def test_a_certificate_that_is_none_is_an_error_of_the_start(function: Any, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate\n")
    for file in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        run = function.run("serve", replicas=1, tls={"certfile": str(file), "keyfile": str(file)})
        assert run.status.state == "ERROR"
        assert run.status.message
    for wrong in ({"certfile": "a"}, {"certfile": "a", "keyfile": "b", "more": "c"}, {}, "a"):
        with pytest.raises(ValueError, match="certfile and keyfile"):
            function.run("serve", tls=wrong)


def test_a_token_is_asked_of_whoever_can_reach_it(function: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    run = function.run("serve", replicas=1, ip="0.0.0.0", token_file=str(file))
    assert run.status.state == "RUNNING", run.status
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text().strip()
    assert run.invoke().status_code == 200  # with the token, which it reads from the file
    assert status(run, {"Authorization": f"Bearer {token}"}) == 200
    assert status(run, {"Authorization": f"bearer {token}"}) == 200
    for wrong in (
        None,
        f"Bearer {token[:-1]}",
        f"Bearer {token}x",
        f"Bearer {token.upper()}",
        f"Basic {token}",
        f"Bearer{token}",
        "Bearer ",
        token,
    ):
        headers = {} if wrong is None else {"Authorization": wrong}
        for path in ("/", "/-/metrics", "/%2d/metrics"):
            assert status(run, headers, path) == 401, (wrong, path)
        # These say nothing of anybody.
        assert status(run, headers, "/-/health") == 200
    assert status(run, {"Authorization": f"Bearer {token}", "Host": "elsewhere.example"}) == 421
    run.stop()
    file.chmod(0o640)
    refused = function.run("serve", replicas=1, ip="0.0.0.0", token_file=str(file))
    assert refused.status.state == "ERROR"
    assert "chmod 600" in refused.status.message


def test_what_others_can_reach_asks_for_something(function: Any) -> None:
    for ip in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ValueError, match="token_file nor tls"):
            function.run("serve", ip=ip)


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import hmac

    from erl.serving import application, figures

    compared = []
    usual = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append((a, b)), usual(a, b))[1])

    async def may(value: bytes) -> bool:
        heads = dict.fromkeys(("handle", "more", "close"), b"")
        door = application.Application(heads, None, b"a token of tokens", figures.Figures(), None)
        return door.may([(b"authorization", value)])

    assert asyncio.run(may(b"Bearer a token of tokens"))
    assert not asyncio.run(may(b"Bearer a"))
    # What is compared has one length, whatever was given.
    assert {len(each) for pair in compared for each in pair} == {32}
    assert len(compared) == 2
