"""Who gets to see the page, and who may act: names, tokens, cookies, headers."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erl.serving.page_door import COOKIE_SECONDS, Door

TOKEN = "0123456789abcdef" * 4
SECRET = b"s" * 32


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def door(ip: str = "127.0.0.1", port: int = 4711, hosts: tuple[str, ...] = (), **more: object) -> Door:
    settings = {"secret": SECRET, "now": Clock(), **more}
    return Door(ip, port, hosts, hashlib.sha256(TOKEN.encode()).digest(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1:4711", "localhost:4711", "LocalHost:4711", "[::1]:4711"])
def test_names_of_the_loopback_device_are_the_pages(host: str) -> None:
    assert door().is_host(host)
    assert door("::1").is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "localhost",
        "127.0.0.1",
        "localhost:4712",
        "localhost:4711.",
        "localhost:4711 ",
        "127.0.0.1.evil.example:4711",
        "localhost.evil.example:4711",
        "evil.example:4711",
        "user@localhost:4711",
        "localhost:4711@evil.example",
        "0x7f000001:4711",
        "2130706433:4711",
        "localhost:4711/../",
        "x" * 100_000,
    ],
)
def test_other_names_are_not(host: str | None) -> None:
    assert not door().is_host(host, "127.0.0.1")


def test_names_that_were_given_are_the_pages_too() -> None:
    page = door("10.0.0.7", hosts=("node.example", "proxy.example:443", "[fe80::1]"))
    assert page.is_host("node.example:4711")
    assert page.is_host("proxy.example:443")
    assert page.is_host("10.0.0.7:4711")
    assert page.is_host("[fe80::1]:4711")
    assert not page.is_host("proxy.example:4711")
    assert not page.is_host("localhost:4711")
    assert not page.is_host("node.example:443")


def test_the_address_that_was_connected_to_is_nobody_elses_name() -> None:
    page = door("0.0.0.0")
    assert page.is_host("192.168.1.5:4711", "192.168.1.5")
    assert not page.is_host("192.168.1.6:4711", "192.168.1.5")
    assert door("::").is_host("[fd00::5]:4711", "fd00::5")


def test_at_port_80_a_name_has_no_port() -> None:
    assert door(port=80).is_host("localhost")


def test_the_token_alone_is_the_token() -> None:
    assert door().is_token(TOKEN)
    for other in (None, "", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "é", "\ud800", "x" * 1_000_000):
        assert not door().is_token(other)


def test_a_cookie_is_valid_for_half_a_day_and_in_the_process_after_this() -> None:
    clock = Clock()
    cookie = door(now=clock).cookie()
    assert door(now=clock).is_cookie(cookie)
    assert not door(now=clock, secret=b"t" * 32).is_cookie(cookie)
    clock.now += COOKIE_SECONDS - 2
    assert door(now=clock).is_cookie(cookie)
    clock.now += 3
    assert not door(now=clock).is_cookie(cookie)


def test_no_two_cookies_are_the_same() -> None:
    assert door().cookie() != door().cookie()


@settings(max_examples=100)
@given(st.text(max_size=200), st.integers(0, 200))
def test_what_was_changed_is_no_cookie(text: str, place: int) -> None:
    cookie = door().cookie()
    changed = cookie[:place] + text + cookie[place + 1 :]
    assert door().is_cookie(changed) is (changed == cookie)


def test_a_time_that_was_signed_for_another_is_no_cookie() -> None:
    until, nonce, signature = door().cookie().split(".")
    assert not door().is_cookie(f"{int(until) + 1}.{nonce}.{signature}")
    assert not door().is_cookie(f"{until}.{nonce}.")
    assert not door().is_cookie(signature)


OWN = {"host": "localhost:4711", "origin": "http://localhost:4711", "x-py-page": "1"}


def test_what_the_page_asks_is_its_own() -> None:
    assert door().is_own(OWN)
    assert door().is_own({**OWN, "sec-fetch-site": "same-origin"})
    assert door().is_own({**OWN, "host": "proxy.example:443", "origin": "https://proxy.example:443"})


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:4712"},
        {"origin": "http://localhost:4711/"},
        {"origin": "file://"},
        {"x-py-page": "0"},
        {"x-py-page": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_what_another_page_asks_is_not(changed: dict[str, str]) -> None:
    assert not door().is_own({**OWN, **changed})


@pytest.mark.parametrize("missing", ["origin", "x-py-page", "host"])
def test_what_lacks_a_header_is_not(missing: str) -> None:
    assert not door().is_own({name: value for name, value in OWN.items() if name != missing})
