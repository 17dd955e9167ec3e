"""New functions, artifacts, data items and models: what is given is read now, and kept."""

from __future__ import annotations

import os

from erl import errors
from erl.functions import data, entities, keys, pythons, repositories, sources, store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.functions.entities import Artifact, Dataitem, Function, Model

    Path = str | os.PathLike[str]


def metadata(description: object, labels: object, embedded: object) -> dict[str, Any]:
    """What is said of every entity. Raises `errors.EntityError`."""
    now = entities.created()
    return {
        "created": now,
        "updated": now,
        "description": _text(description, "the description"),
        "labels": _texts(labels, "labels"),
        "embedded": bool(embedded),
    }


def _said(
    project: object, type_: str, name: object, kind: object, uuid: object, about: dict[str, Any]
) -> dict[str, Any]:
    """What is said of an entity before its `spec`."""
    if project is None:
        raise errors.EntityError(f"the {type_} needs a project: project='...'")
    checked = store.check_project(project)
    store.check_name(name, f"the {type_}")
    store.check_name(kind, f"the kind of the {type_}")
    id_ = keys.new_id(uuid)
    return {
        "project": checked,
        "type": type_,
        "kind": kind,
        "name": name,
        "id": id_,
        "key": keys.key(checked, type_, str(kind), str(name), id_),
        "metadata": about,
    }


# Functions


def new_function(
    project: Any = None,
    name: str | None = None,
    kind: str = "python",
    *,
    code_src: Path | None = None,
    code: str | None = None,
    base64: str | bytes | None = None,
    handler: str | None = None,
    init_function: str | None = None,
    python_version: str | None = None,
    requirements: list[str] | None = None,
    base_image: str | None = None,
    image: str | None = None,
    uuid: str | None = None,
    description: str | None = None,
    labels: list[str] | None = None,
    lang: str | None = None,
    embedded: bool = True,
) -> Function:
    """A function of a project, or another version of it.

    Its source is read now, and kept: `code_src`, a file, a folder, a zip, or a git repository (`git+https://...`,
    `git+ssh://...`); `code`, the text itself; `base64`, the same encoded. `handler` names the function in it (`f`,
    `module:f`, `pkg.module:f`), `init_function` one that is called before it. `python_version` ("PYTHON3_10") is that
    version or the lowest here that is not older, with a warning. Raises `errors.EntityError`, which says what is wrong.
    """
    if kind != "python":
        raise errors.EntityError(f"the kind of a function is python, not {kind!r:.60}")
    if handler is None or handler == "":
        raise errors.EntityError("Handler must be provided.")
    if code_src is None and code is None and base64 is None:
        raise errors.EntityError("Source must be provided.")
    sources.check_handler(handler, "handler")
    if init_function is not None:
        sources.check_handler(init_function, "init_function")
    python = pythons.version_for(python_version)
    said = _said(project, "function", name, kind, uuid, metadata(description, labels, embedded))
    spec: dict[str, Any] = {
        "source": {},
        "handler": handler,
        "init_function": init_function,
        "python_version": python_version,
        "python": python,
        "requirements": _texts(requirements, "requirements"),
        "base_image": _text(base_image, "base_image"),
        "image": _text(image, "image"),
        "lang": _text(lang, "lang") or "python",
    }
    said["spec"] = spec

    def write(content: str) -> None:
        spec["source"].update(sources.read(content, handler, init_function, code_src, code, base64))

    # The hash is said with the source, so the source is written first.
    return _made(said, write)  # type: ignore[no-any-return]


def _made(said: dict[str, Any], write: Callable[[str], object]) -> Any:
    """Have an entity appear, in a project that is there: the entity."""
    store.get(said["project"], "project", said["project"], keys.project_id(said["project"]))
    store.put(said, write)
    return entities.get(said["project"], said["type"], said["name"], said["id"])


def _text(value: object, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise errors.EntityError(f"{name} is a text, not {type(value).__name__}")
    return value


def _texts(value: object, name: str) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise errors.EntityError(f"{name} is a list of texts")
    return list(value)


# Artifacts and models


def log_artifact(
    project: Any = None,
    name: str | None = None,
    kind: str = "artifact",
    source_path: Path | None = None,
    *,
    source: Path | None = None,
    path: Path | None = None,
    uuid: str | None = None,
    description: str | None = None,
    labels: list[str] | None = None,
    embedded: bool = True,
    **spec: Any,
) -> Artifact:
    """Keep a file, or a folder, as it is now (`source_path`). More keywords are said of it, in its `spec`."""
    file = _needed_file("artifact", source_path, source, path)
    about = metadata(description, labels, embedded)
    return _logged("artifact", project, name, kind, file, uuid, about, spec)  # type: ignore[no-any-return]


def new_artifact(
    project: Any = None,
    name: str | None = None,
    kind: str = "artifact",
    **keywords: Any,
) -> Artifact:
    """The same as `log_artifact`: what is to be read later is kept now."""
    return log_artifact(project, name, kind, **keywords)


def log_model(
    project: Any = None,
    name: str | None = None,
    kind: str = "model",
    source_path: Path | None = None,
    *,
    source: Path | None = None,
    path: Path | None = None,
    uuid: str | None = None,
    description: str | None = None,
    labels: list[str] | None = None,
    embedded: bool = True,
    **spec: Any,
) -> Model:
    """Keep a model's file, or folder, as it is now (`source_path`). More keywords (`framework`, `algorithm`, `metrics`,
    `parameters`, ...) are said of it, in its `spec`.
    """
    file = _needed_file("model", source_path, source, path)
    about = metadata(description, labels, embedded)
    return _logged("model", project, name, kind, file, uuid, about, spec)  # type: ignore[no-any-return]


def new_model(project: Any = None, name: str | None = None, kind: str = "model", **keywords: Any) -> Model:
    """The same as `log_model`: what is to be read later is kept now."""
    return log_model(project, name, kind, **keywords)


def _needed_file(type_: str, *given: Path | None) -> str:
    file = _file(*given)
    if file is None:
        raise errors.EntityError(f"the {type_} needs a file, or a folder: source_path='...'")
    return file


def _file(*given: Path | None) -> str | None:
    named = [os.fspath(each) for each in given if each is not None]
    if len(named) > 1:
        raise errors.EntityError("source_path, source and path are the same: name one")
    if not named:
        return None
    if "://" in named[0]:
        raise errors.EntityError(
            f"{repositories.without_credentials(named[0])} is not a file here: fetch it first"
        )
    if not os.path.exists(named[0]):
        raise errors.EntityError(f"there is no file {named[0]}")
    return os.path.abspath(named[0])


def _logged(
    type_: str,
    project: object,
    name: object,
    kind: object,
    file: str,
    uuid: object,
    about: dict[str, Any],
    spec: dict[str, Any],
) -> Any:
    said = _said(project, type_, name, kind, uuid, about)
    said["spec"] = {**spec, "file_name": os.path.basename(file.rstrip("/")), "is_folder": os.path.isdir(file)}

    def write(content: str) -> None:
        said["spec"]["size"] = store.copy(file, content)

    return _made(said, write)


# Data items


def log_dataitem(
    project: Any = None,
    name: str | None = None,
    kind: str = "table",
    source_path: Path | None = None,
    *,
    data: Any = None,
    source: Path | None = None,
    path: Path | None = None,
    file_format: str | None = None,
    uuid: str | None = None,
    description: str | None = None,
    labels: list[str] | None = None,
    embedded: bool = True,
    **spec: Any,
) -> Dataitem:
    """Keep a data frame of pandas or polars (`data`), or a file as it is now (`path`): what `as_df` gives later.

    More keywords are said of it, in its `spec`.
    """
    about = metadata(description, labels, embedded)
    file = _file(source_path, source, path)
    if data is None and file is None:
        raise errors.EntityError("the data item needs a data frame, data=..., or a file, path='...'")
    if data is not None and file is not None:
        raise errors.EntityError("data is a data frame, path a file: name one")
    if file_format is not None:
        spec["file_format"] = file_format
    if file is not None:
        return _logged("dataitem", project, name, kind, file, uuid, about, spec)  # type: ignore[no-any-return]
    return _framed(project, name, kind, data, uuid, about, spec)


def _framed(
    project: object,
    name: object,
    kind: object,
    frame: Any,
    uuid: object,
    about: dict[str, Any],
    spec: dict[str, Any],
) -> Dataitem:
    engine = data.engine_of(frame)
    if engine is None:
        raise errors.EntityError(
            f"data is a data frame of pandas or polars, not {type(frame).__module__}.{type(frame).__qualname__}; "
            "a file is named by path="
        )
    said = _said(project, "dataitem", name, kind, uuid, about)
    said["spec"] = {**spec, "engine": engine}

    def write(content: str) -> None:
        said["spec"]["file_format"] = data.write(frame, content)
        said["spec"]["size"] = os.path.getsize(content)

    return _made(said, write)  # type: ignore[no-any-return]


def new_dataitem(
    project: Any = None, name: str | None = None, kind: str = "table", **keywords: Any
) -> Dataitem:
    """The same as `log_dataitem`: what is to be read later is kept now."""
    return log_dataitem(project, name, kind, **keywords)
