"""What a run in a box has of what its node keeps: what came with its call. What it keeps itself goes with its answer.

A box reads no file of the node's, and has no key: so no pickle goes in, and none comes out. The node (`py_run_box` of
the Erlang side) looks at what comes, and writes it.

    given["entities"]: (project, type, name, id, text, content)
        content: [], ("file", bytes), ("folder", [(path, bytes), ...])
    kept: (type, name, id, text, content)
        content: [], bytes, ([(path, bytes), ...],)
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile

from erl import errors
from erl.functions import keys
from erl.values import running

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

BYTES: Final = "bytes"
"""The format of an artifact that is bytes which a run in a box has returned."""
NO_PICKLES: Final = "no pickle goes into a box, and none comes out of it"

_TYPES: Final = ("artifact", "dataitem", "model")
_MOST_BYTES: Final = 128 << 20
_MOST_KEPT: Final = 1_000


class Box:
    """The store of one attempt."""

    def __init__(self, given: dict[Any, Any], kept: list[Any]) -> None:
        self.project = _text(given["project"])
        self.run_id = _text(given["run"])
        self._kept = kept
        self._left = _MOST_BYTES
        self._directory = tempfile.mkdtemp(prefix="py-functions-")
        self._entities: dict[tuple[str, ...], tuple[str, str]] = {}
        for project, type_, name, id_, text, content in given["entities"]:
            parts = (_text(project), _text(type_), _text(name), _text(id_))
            self._add(parts, _text(text), self._written(content))

    def close(self) -> None:
        """Delete its files."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _add(self, parts: tuple[str, ...], text: str, content: str) -> None:
        latest = (*parts[:3], "")
        self._entities[parts] = self._entities[latest] = text, content

    def _place(self) -> str:
        return os.path.join(self._directory, str(len(self._entities)), "content")

    def _written(self, content: Any) -> str:
        place = self._place()
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not content:
            return place
        kind, what = content
        for path, data in [("", what)] if kind == "file" else what:
            file = os.path.join(place, os.fsdecode(path)) if path else place
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as opened:
                opened.write(data)
        if kind != "file":
            os.makedirs(place, exist_ok=True)
        return place

    def get(self, project: str, type_: str, name: str, id_: str) -> tuple[str, str]:
        """The file's text and the content of an entity. Raises `errors.UnknownEntityError`."""
        if type_ == "project" and name == project == self.project:
            return self._own(), ""
        found = self._entities.get((project, type_, name, id_))
        if found is None:
            raise errors.UnknownEntityError(
                f"there is no {type_} {project}/{name}{':' if id_ else ''}{id_} in this box: "
                "it has its function, what the run's inputs name, and what it has kept itself"
            )
        return found

    def _own(self) -> str:
        said = {
            "project": self.project,
            "type": "project",
            "kind": "project",
            "name": self.project,
            "id": keys.project_id(self.project),
            "metadata": {},
            "spec": {},
        }
        return json.dumps({"format": 1, "entity": said})

    def put(self, said: dict[str, Any], write: Callable[[str], object] | None) -> None:
        """Keep an entity until the run ends."""
        if said["type"] not in _TYPES:
            raise errors.EntityError(f"a box makes no {said['type']}: it is kept by who is not in one")
        if said["project"] != self.project:
            raise errors.EntityError(f"a box keeps what is its run's project's, {self.project}")
        if len(self._kept) >= _MOST_KEPT:
            raise errors.EntityError(f"a run in a box keeps at most {_MOST_KEPT:,} entities")
        parts = (said["project"], said["type"], said["name"], said["id"])
        content: Any = []
        place = ""
        if write is not None:
            place = self._place()
            os.makedirs(os.path.dirname(place), exist_ok=True)
            write(place)
            content = self._read(place)
        # What is said of it may follow from its content.
        try:
            text = json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise errors.EntityError(f"what is said of {said['key']} is no JSON: {error}") from None
        self._kept.append((*(part.encode() for part in parts[1:]), text, content))
        self._add(parts, f'{{"format": 1, "entity": {text.decode()}}}', place)

    def _read(self, place: str) -> Any:
        if os.path.isfile(place):
            return self._bytes(place)
        found = []
        for directory, _, files in os.walk(place):
            for name in sorted(files):
                path = os.path.join(directory, name)
                found.append((os.fsencode(os.path.relpath(path, place)), self._bytes(path)))
        return (found,)

    def _bytes(self, path: str) -> bytes:
        self._left -= os.path.getsize(path)
        if self._left < 0:
            raise errors.EntityError(
                f"a run in a box keeps at most {_MOST_BYTES >> 20} MiB: volumes hold more"
            )
        with open(path, "rb") as file:
            return file.read()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def current() -> Box | None:
    """The store of the run in a box that this code is part of; None elsewhere."""
    given = running.boxed.get()
    if given is None:
        return None
    if given.store is None:
        given.store = Box(given.given, given.kept)
    return given.store  # type: ignore[no-any-return]
