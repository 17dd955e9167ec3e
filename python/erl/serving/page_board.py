"""What browsers are told: rows with the version that changed them last, and what has changed since a version.

However fast views come, a browser that asks is given each row once, as it is now. One that has not asked for long is
given all of it.
"""

from __future__ import annotations

import json
import time
from collections import deque

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

TABLES: Final = ("pools", "workers", "runs", "services", "sessions", "environments")
_MOST_GONE: Final = 4_096
"""Rows that are remembered as gone; whoever knows an older version is given everything."""


class Board:
    """The rows of all tables, as browsers have them."""

    def __init__(self) -> None:
        self.version = 0
        self._rows: dict[str, dict[str, tuple[int, str]]] = {table: {} for table in TABLES}
        self._gone: deque[tuple[int, str, str]] = deque()
        self._known_since = 0
        self._head = "{}"
        self._head_version = 0
        self._said: dict[int, str] = {}

    def update(self, view: dict[str, Any]) -> bool:
        """Take a view: for each table pairs of an id and a row, `node` and `counts`. Whether anything is new."""
        version = self.version + 1
        is_new = False
        head = _json({"node": view["node"], "counts": view["counts"]})
        if head != self._head:
            self._head, self._head_version, is_new = head, version, True
        for table in TABLES:
            is_new |= self._replaced(table, {id_: _json(row) for id_, row in view[table]}, version)
        if is_new:
            self.version = version
            self._said.clear()
        return is_new

    def _replaced(self, table: str, now: dict[str, str], version: int) -> bool:
        before = self._rows[table]
        is_new = False
        rows: dict[str, tuple[int, str]] = {}
        for id_, text in now.items():
            known = before.get(id_)
            if known is not None and known[1] == text:
                rows[id_] = known
            else:
                rows[id_] = version, text
                is_new = True
        for id_ in before.keys() - now.keys():
            self._gone.append((version, table, id_))
            is_new = True
        while len(self._gone) > _MOST_GONE:
            self._known_since = self._gone.popleft()[0]
        self._rows[table] = rows
        return is_new

    def changes(self, since: int) -> str:
        """What is new since a version, as JSON in one line; all there is for one that is too old, or none."""
        if since not in self._said:
            self._said[since] = self._changes(since)
        return self._said[since]

    def _changes(self, since: int) -> str:
        is_full = not self._known_since <= since <= self.version or since <= 0
        from_version = -1 if is_full else since
        tables = []
        for table in TABLES:
            rows = [
                f"{_json(id_)}:{text}"
                for id_, (version, text) in self._rows[table].items()
                if version > from_version
            ]
            if rows or is_full:
                tables.append(f'"{table}":{{{",".join(rows)}}}')
        parts = [
            f'"now":{int(time.time() * 1000)}',
            f'"version":{self.version}',
            f'"full":{"true" if is_full else "false"}',
        ]
        if is_full or self._head_version > since:
            parts.append(f'"head":{self._head}')
        if not is_full:
            gone: dict[str, list[str]] = {}
            for version, table, id_ in self._gone:
                if version > since and id_ not in self._rows[table]:
                    gone.setdefault(table, []).append(id_)
            parts.append(f'"gone":{_json(gone)}')
        return f'{{{",".join(parts)},"rows":{{{",".join(tables)}}}}}'


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
