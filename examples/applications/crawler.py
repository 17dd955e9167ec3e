"""What a crawler does with one page. It knows no Erlang; the standard library does the work."""

from __future__ import annotations

import asyncio
import http.server
import threading
import urllib.error
import urllib.request
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

_MOST_BYTES = 1_000_000
_SECONDS = 30


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


async def links(url: str) -> tuple[int, list[str]]:
    """How many bytes a page has, and the pages of its site that it names. Raises `OSError` for one that is missing."""
    return await asyncio.to_thread(_links, url)


def _links(url: str) -> tuple[int, list[str]]:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"no page of the web: {url}")
    with urllib.request.urlopen(url, timeout=_SECONDS) as page:
        content = page.read(_MOST_BYTES)
    parser = _Links()
    parser.feed(content.decode("utf-8", "replace"))
    found = {urldefrag(urljoin(url, link)).url for link in parser.found}
    return len(content), sorted(each for each in found if urlsplit(each).netloc == urlsplit(url).netloc)


class _Site(http.server.BaseHTTPRequestHandler):
    """A site of 100 pages, each of which names two others, and one that is missing."""

    def do_GET(self) -> None:
        number = int(self.path.strip("/") or 0)
        if number >= 100:
            self.send_error(404)
            return
        text = "".join(f'<a href="/{2 * number + more}">on</a>' for more in (1, 2))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def site() -> str:
    """Serve the site on this machine; its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"
