"""Entities as the node keeps them: texts in JSON, and contents, files or directories.

> put(said, content)                     a new one; `content` writes into the directory that it is given
< get(project, type, name, id)           what was said, and where its content lies

A content is written into a directory of this process's own, which its name says, so that it is deleted where this
process is killed; it is synced before the node makes it an entity's.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import warnings
from contextlib import suppress

from erl import errors
from erl.functions import boxed, nodes
from erl.functions.nodes import text_of
from erl.values import running

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

FORMAT: Final = 1

MOST_FILES: Final = 100_000
"""In one content."""
MOST_BYTES: Final = 1 << 40
"""Of one content."""
_PAGE: Final = 1000
_CHUNK: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def check_name(name: object, what: str) -> str:
    """The name. Raises `errors.EntityError` where it is none: it is to be part of a path."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = repr(name) if len(repr(name)) < 80 else f"{repr(name)[:80]}..."
        raise errors.EntityError(
            f"{what} {shown}: a name has 1 to 63 characters a-z, 0-9 and -, and begins with none of -"
        )
    return name


_TAKEN: Final = ("lock", "key", "journal", "runs", "envs", "incoming", "secrets")


def check_project(project: Any) -> str:
    """The name of a project, or of what has it as its `name`. Raises `errors.EntityError`."""
    name = check_name(getattr(project, "name", project), "the project")
    if name in _TAKEN:
        raise errors.EntityError(f"a project can't be called {name}: that is a file of the store's")
    return name


def put(said: dict[str, Any], content: Callable[[str], object] | None = None) -> None:
    """Have an entity appear. `content` is called with a path that it makes, a file or a directory."""
    box = boxed.current()
    if box is not None:
        box.put(said, content)
        return
    parts = [said[each].encode() for each in ("project", "type", "name", "id")]
    if content is None:
        nodes.call("py_entity", "put", [*parts, _json(said), b""])
        return
    # The two calls are one node's: another one has another place.
    node = nodes.asked_one()
    place = text_of(nodes.call("py_entity", "place", [], node))
    own = f"{_process()}-{os.urandom(8).hex()}"
    directory = os.path.join(place, own)
    try:
        os.mkdir(directory, 0o700)
        content(os.path.join(directory, "content"))
        _sync_tree(directory)
        nodes.call("py_entity", "put", [*parts, _json(said), own.encode()], node)
    except FileNotFoundError as error:
        if os.path.isdir(place):
            raise
        raise errors.EntityError(
            f"{place} is not here: the node is on another machine, or another user's"
        ) from error
    except OSError as error:
        raise errors.EntityError(f"{said['key']} can't be kept: {error}") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _json(said: dict[str, Any]) -> bytes:
    try:
        return json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.EntityError(f"what is said of {said['key']} is no JSON: {error}") from None


def _process() -> str:
    """What this process is known by: its number, its start, its namespace of processes."""
    started, namespace = running.started().decode() or "0", "0"
    with suppress(OSError):
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    return f"{os.getpid()}-{started}-{namespace}"


def _sync_tree(top: str) -> None:
    for directory, _, files in os.walk(top):
        for file in files:
            path = os.path.join(directory, file)
            if not os.path.islink(path):
                os.chmod(path, 0o400)
                _sync(path)
        _sync(directory)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def get(project: str, type_: str, name: str, id_: str = "") -> tuple[dict[str, Any], str]:
    """What was said of an entity, and where its content lies. Raises `errors.UnknownEntityError`."""
    box = boxed.current()
    if box is not None:
        own, path = box.get(project, type_, name, id_)
        return _said(own, project, type_, name, json.loads(own)["entity"]["id"]), path
    parts = [each.encode() for each in (project, type_, name, id_)]
    found, text, content = nodes.call("py_entity", "get", parts)
    said = _said(text, project, type_, name, text_of(found))
    return said, text_of(content)


def _said(text: Any, project: str, type_: str, name: str, id_: str) -> dict[str, Any]:
    """What the file says. Raises `errors.EntityError` for one of another format, cut, or put there by somebody."""
    where = f"{project}/{type_}/{name}/{id_}/entity.json"
    try:
        read = json.loads(text if isinstance(text, (str, bytes)) else bytes(text))
    except (ValueError, RecursionError) as error:
        raise errors.EntityError(f"{where} can't be read: {error}") from None
    if not isinstance(read, dict) or type(read.get("format")) is not int:
        raise errors.EntityError(f"{where} is no entity's")
    if read["format"] != FORMAT:
        raise errors.EntityError(f"{where} has the format {read['format']}, and this version reads {FORMAT}")
    said: Any = read.get("entity")
    own = {"project": project, "type": type_, "name": name, "id": id_}
    if (
        not isinstance(said, dict)
        or any(said.get(each) != value for each, value in own.items())
        or not isinstance(said.get("kind"), str)
        or not isinstance(said.get("spec"), dict)
        or not isinstance(said.get("metadata"), dict)
    ):
        raise errors.EntityError(f"{where} is another entity's")
    return said


def entities(project: str, type_: str, name: str = "", is_latest: bool = True) -> Iterator[dict[str, Any]]:
    """What was said of the entities of a type, the latest of each name or all versions.

    One that can't be read is left out, with a warning.
    """
    after = (b"", b"")
    while True:
        parts = [project.encode(), type_.encode(), name.encode()]
        page = nodes.call("py_entity", "list", [*parts, is_latest, after, _PAGE])
        if not page:
            return
        for found, id_, text in page:
            after = (text_of(found).encode(), text_of(id_).encode())
            if text is None:  # deleted just now
                continue
            try:
                yield _said(text, project, type_, text_of(found), text_of(id_))
            except errors.EntityError as error:
                warnings.warn(f"left out: {error}", RuntimeWarning, stacklevel=3)


def delete(project: str, type_: str = "", name: str = "", id_: str = "") -> None:
    """Have an entity go, all versions of a name, or a project with all that is in it."""
    nodes.call("py_entity", "delete", [each.encode() for each in (project, type_, name, id_)])


def projects() -> list[str]:
    """The names of the projects."""
    return [text_of(each) for each in nodes.call("py_entity", "projects", [])]


# Contents


def copy(
    source: str,
    content: str,
    most_files: int = MOST_FILES,
    most_bytes: int = MOST_BYTES,
    without: Callable[[str], bool] = lambda _: False,
) -> int:
    """A file, or a folder with the files in it, as they are now; how many bytes.

    Raises `errors.EntityError` for links, devices, too many files, too many bytes.
    """
    if not os.path.isdir(source):
        return copy_file(source, content, most_bytes)
    top = os.path.abspath(source)
    count = size = 0
    for directory, folders, files in os.walk(top, onerror=_raise):
        into = os.path.normpath(os.path.join(content, os.path.relpath(directory, top)))
        os.mkdir(into, 0o700)
        folders[:] = [name for name in folders if not without(name)]
        for name in folders:
            if os.path.islink(os.path.join(directory, name)):
                raise errors.EntityError(f"{os.path.join(directory, name)} is a link: copy what it leads to")
        for name in files:
            if without(name):
                continue
            count += 1
            if count > most_files:
                raise errors.EntityError(f"{source} has more than {most_files:,} files")
            path = os.path.join(directory, name)
            size += copy_file(path, os.path.join(into, name), most_bytes - size, os.O_NOFOLLOW)
    return size


def _raise(error: OSError) -> None:
    raise error


def copy_file(source: str, content: str, most: int, flags: int = 0) -> int:
    """Copy a regular file of at most so many bytes; how many it has."""
    try:
        # What is no file, such as a pipe, must not be waited for.
        handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise errors.EntityError(f"{source} is a link: copy what it leads to") from error
        raise errors.EntityError(f"{source} can't be read: {error.strerror}") from error
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise errors.EntityError(f"{source} is no file")
        size = 0
        with open(content, "xb") as copied:
            while part := file.read(_CHUNK):
                size += len(part)
                if size > most:
                    raise errors.EntityError(f"{source} is larger than an entity's content may be")
                copied.write(part)
        return size
