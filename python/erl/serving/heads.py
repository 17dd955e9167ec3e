"""What a client sends, cut into what may be handed on: strict where two readers could differ. Pure; knows no socket.

A head is taken whole: a request line in origin form, names and values without control characters, one `Host` that is
known, one length or `chunked`, never both (RFC 9112, 2.2, 3.2, 5.1, 6.3). What it says of the body is kept to, so what
stands behind it is the next head, for this reader and for the parser behind it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final

MOST_HEAD_BYTES: Final = 32_768
MOST_TARGET_BYTES: Final = 8_192
MOST_HEADERS: Final = 100
_MOST_CHUNK_LINE: Final = 16
_MOST_LENGTH_DIGITS: Final = 18

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LINE: Final = re.compile(rb"(" + _TOKEN + rb"{1,32}) (/[\x21\x22\x24-\x7e]*|\*) HTTP/(\d)\.(\d)\r\n")
_HEADERS: Final = re.compile(rb"(?:" + _TOKEN + rb"+:[\t\x20-\x7e\x80-\xff]*\r\n)*")
_FIELDS: Final = re.compile(
    rb"(?:^|\n)(host|content-length|transfer-encoding|expect|upgrade):[ \t]*([^\r]*?)[ \t]*\r", re.I
)
_UPGRADE: Final = re.compile(rb"\nupgrade:[^\n]*", re.I)
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|$)|\0")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")

# Where in a message the next byte is.
_HEAD, _LENGTH, _SIZE, _CHUNK_DATA, _CHUNK_END, _LAST = range(6)


class RefusedError(Exception):
    """Raised for what is no request that is taken; with the status of the answer, which is the connection's last."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Messages:
    """The requests of one connection: bytes in, bytes out for the parser, up to the first that is refused."""

    __slots__ = ("_body", "_hosts", "_known", "_known_left", "_left", "_most_body", "_rest", "_state")

    def __init__(self, hosts: frozenset[bytes], most_body: int) -> None:
        self._hosts = hosts
        self._most_body = most_body
        self._rest = b""
        # The last head that was looked at, without chunks behind it, and the length of its body: who asks again in the
        # same words is not looked at again.
        self._known = b""
        self._known_left = 0
        self._state = _HEAD
        self._left = 0
        self._body = 0

    @property
    def is_between(self) -> bool:
        """Whether nothing of a request has come that is not there whole."""
        return self._state == _HEAD and not self._rest

    @property
    def is_in_body(self) -> bool:
        """Whether the head of a request is there, and not all of its body."""
        return self._state != _HEAD

    def receive(self, data: bytes) -> tuple[list[bytes], RefusedError | None]:
        """What may be handed on of more bytes, and why not the rest."""
        if data == self._known and not self._rest and self._state == _HEAD and not self._known_left:
            return [data], None
        if self._rest:
            data, self._rest = self._rest + data, b""
        out: list[bytes] = []
        at = 0
        try:
            while at < len(data):
                at = self._next(data, at, out)
        except RefusedError as refused:
            return out, refused
        return out, None

    def ended(self) -> RefusedError | None:
        """What is said to a client that sends no more in the middle of a request."""
        return None if self.is_between else RefusedError(400, "the request ends in its middle")

    def _next(self, data: bytes, at: int, out: list[bytes]) -> int:
        state = self._state
        if state == _HEAD:
            return self._next_head(data, at, out)
        if state in (_LENGTH, _CHUNK_DATA):
            end = min(len(data), at + self._left)
            out.append(data[at:end])
            self._left -= end - at
            if not self._left:
                self._state = _HEAD if state == _LENGTH else _CHUNK_END
            return end
        return self._next_chunk(data, at, out)

    def _next_head(self, data: bytes, at: int, out: list[bytes]) -> int:
        end = data.find(b"\r\n\r\n", at)
        if end < 0 or end + 4 - at > MOST_HEAD_BYTES:
            self._rest = data[at:]
            _check_begun(self._rest)
            return len(data)
        head = data[at : end + 4]
        if head.startswith(b"\r\n"):  # behind the body of a request, of clients that send one too many
            return at + 2
        if head == self._known:
            self._left = self._known_left
            self._state = _LENGTH if self._left else _HEAD
            out.append(head)
            return end + 4
        checked = self._checked(head)
        if checked == head and self._state != _SIZE:
            self._known, self._known_left = head, self._left
        out.append(checked)
        return end + 4

    def _checked(self, head: bytes) -> bytes:
        """The head as it is handed on; the state is that of its body then."""
        line = _request_line(head)
        if not _HEADERS.fullmatch(head, line.end(), len(head) - 2):
            raise RefusedError(400, "a header is none")
        if head.count(b"\r\n") - 2 > MOST_HEADERS:
            raise RefusedError(431, f"there are more than {MOST_HEADERS} headers")
        hosts, lengths, codings = [], [], []
        for name, value in _FIELDS.findall(head, line.end() - 1):
            name = name.lower()
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif name == b"expect" and value.lower() != b"100-continue":
                raise RefusedError(417, "only 100-continue can be expected")
            elif name == b"upgrade":
                # To a parser it may mean that what follows is no HTTP; there is nothing to upgrade to.
                head = _UPGRADE.sub(b"", head)
        if len(hosts) != 1:
            raise RefusedError(400, "a request has one Host")
        if _name_of(hosts[0]) not in self._hosts:
            raise RefusedError(421, "this host is none of this service's names")
        self._body_of(lengths, codings, is_old=line[4] == b"0")
        return head

    def _body_of(self, lengths: list[bytes], codings: list[bytes], is_old: bool) -> None:
        if codings:
            if lengths or is_old or len(codings) != 1 or codings[0].lower() != b"chunked":
                raise RefusedError(400, "Transfer-Encoding is chunked, once, and without Content-Length")
            self._state, self._body = _SIZE, 0
        elif lengths:
            (text, *others) = lengths
            if others or not text.isdigit() or len(text) > _MOST_LENGTH_DIGITS:
                raise RefusedError(400, "Content-Length is one number")
            if int(text) > self._most_body:
                raise RefusedError(413, f"a body has at most {self._most_body} bytes")
            self._left = int(text)
            self._state = _LENGTH if self._left else _HEAD

    def _next_chunk(self, data: bytes, at: int, out: list[bytes]) -> int:
        if self._state == _SIZE:
            found = _CHUNK.match(data, at)
            if found is None:
                if len(data) - at > _MOST_CHUNK_LINE or not re.fullmatch(rb"[0-9a-fA-F]*\r?", data[at:]):
                    raise RefusedError(400, "a chunk has no size")
                self._rest = data[at:]
                return len(data)
            self._left = int(found[1], 16)
            self._body += self._left
            if self._body > self._most_body:
                raise RefusedError(413, f"a body has at most {self._most_body} bytes")
            self._state = _CHUNK_DATA if self._left else _LAST
            out.append(found[0])
            return found.end()
        if len(data) - at < 2 and data[at:] == b"\r":
            self._rest = data[at:]
            return len(data)
        if data[at : at + 2] != b"\r\n":
            raise RefusedError(400, "a chunk is longer than its size, or there are trailers")
        self._state = _SIZE if self._state == _CHUNK_END else _HEAD
        out.append(b"\r\n")
        return at + 2


def _check_begun(head: bytes) -> None:
    """Of a head that is not there whole, whether it can become one."""
    line_end = head.find(b"\r\n", 2)
    if (line_end < 0 and len(head) > MOST_TARGET_BYTES) or line_end > MOST_TARGET_BYTES:
        raise RefusedError(414, f"the target has more than {MOST_TARGET_BYTES} bytes")
    if len(head) > MOST_HEAD_BYTES:
        raise RefusedError(431, f"the head has more than {MOST_HEAD_BYTES} bytes")
    if _BARE.search(head):
        raise RefusedError(400, "a line ends with CR LF")
    begun = head.removeprefix(b"\r\n")
    if begun and begun != b"\r" and not re.match(_TOKEN, begun):
        raise RefusedError(400, "this is no request")
    if line_end >= 0 and not head.startswith(b"\r\n"):
        _request_line(head)


def _request_line(head: bytes) -> re.Match[bytes]:
    line = _LINE.match(head)
    if line is None:
        if head.find(b"\r\n") > MOST_TARGET_BYTES:
            raise RefusedError(414, f"the target has more than {MOST_TARGET_BYTES} bytes")
        raise RefusedError(400, "the request line is none")
    if line.end() > MOST_TARGET_BYTES:
        raise RefusedError(414, f"the target has more than {MOST_TARGET_BYTES} bytes")
    if line[3] != b"1" or line[4] not in (b"0", b"1"):
        raise RefusedError(505, "HTTP is spoken in versions 1.0 and 1.1")
    # CONNECT asks for a tunnel to what it names, which is no path.
    if (line[2] == b"*" and line[1] != b"OPTIONS") or line[1].upper() == b"CONNECT":
        raise RefusedError(400, "the target is none")
    return line


def _name_of(host: bytes) -> bytes:
    """The name in a `Host`, without its port."""
    if host.startswith(b"["):
        name, bracket, port = host.partition(b"]")
        name += bracket
        port = port.removeprefix(b":") if port.startswith(b":") or not port else b"?"
    else:
        name, _, port = host.partition(b":")
    return name.lower() if not port or port.isdigit() else b""
