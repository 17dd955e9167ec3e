"""Who gets to see the page, and who may act. Pure: hashes, names and headers in, verdicts out.

A URL has a token, which a browser gives for a cookie. What changes something takes the cookie, a header that no form
can send, and an `Origin` that is the page's own. All of it is served under names that the page is bound to only, so
that no other name leads a browser here.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Final

COOKIE_SECONDS: Final = 12 * 3600
ACTION_HEADER: Final = "x-py-page"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_LONGEST: Final = 4_096


class Door:
    """The names, the token and the cookies of one page."""

    def __init__(
        self,
        ip: str,
        port: int,
        hosts: Iterable[str],
        token: bytes,
        secret: bytes,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`token` is its SHA-256; `secret` signs cookies, so that they outlive this process."""
        literal = f"[{ip}]" if ":" in ip else ip
        names = {literal, *hosts}
        if ip in ("127.0.0.1", "::1", "0.0.0.0", "::"):
            names.update(_LOOPBACK)
        # What has a port already is meant as it is: somebody stands before this.
        self._names = frozenset(name if _has_port(name) else f"{name}:{port}" for name in names)
        if port == 80:
            self._names |= names
        self._port = port
        self._token = token
        self._secret = secret
        self._now = now
        self.cookie_name = f"py_page_{port}"

    def is_host(self, host: str | None, local: str | None = None) -> bool:
        """Whether a request for this `Host` is one for the page.

        `local` is the address that the connection came to: a number can't be somebody else's name.
        """
        if host is None or len(host) > _LONGEST:
            return False
        name = host.lower()
        if name in self._names:
            return True
        literal = f"[{local}]" if local is not None and ":" in local else local
        return literal is not None and name == f"{literal}:{self._port}"

    def is_token(self, token: str | None) -> bool:
        """Whether it is the one of the URL; it takes as long whatever it is."""
        given = (token or "")[:_LONGEST].encode("utf-8", "surrogatepass")
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._token)

    def cookie(self) -> str:
        """A new cookie, valid for half a day."""
        content = f"{int(self._now()) + COOKIE_SECONDS}.{secrets.token_hex(16)}"
        return f"{content}.{self._signed(content)}"

    def is_cookie(self, cookie: str | None) -> bool:
        """Whether it was made here, or by a process before this one, and is still valid."""
        content, _, signature = (cookie or "")[:_LONGEST].rpartition(".")
        is_signed = hmac.compare_digest(
            self._signed(content).encode(), signature.encode("utf-8", "surrogatepass")
        )
        until = content.partition(".")[0]
        return is_signed and until.isascii() and until.isdecimal() and int(until) > self._now()

    def _signed(self, content: str) -> str:
        return hmac.new(self._secret, content.encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def is_own(self, headers: Mapping[str, str]) -> bool:
        """Whether a request that changes something was made by the page itself."""
        host = headers.get("host", "").lower()
        origin = headers.get("origin", "").lower()
        return (
            headers.get(ACTION_HEADER) == "1"
            and origin in (f"http://{host}", f"https://{host}")
            and headers.get("sec-fetch-site", "same-origin") == "same-origin"
        )


def _has_port(name: str) -> bool:
    host, separator, port = name.rpartition(":")
    return bool(separator) and port.isdecimal() and (host.endswith("]") or ":" not in host)
