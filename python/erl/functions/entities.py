"""Entities: what is said of one, where its content lies, how it is read. None is changed after it was written."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from erl import errors
from erl.functions import boxed, data, keys, loading, signed, store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar, TypeVar

    E = TypeVar("E", bound="Entity")


class Fields:
    """What is said under a name: attributes, or items, as one likes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict, nested ones too."""
        return {
            key: value.to_dict() if isinstance(value, Fields) else value
            for key, value in self.__dict__.items()
        }

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default where there is none of that name."""
        return self.__dict__.get(name, default)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Fields):
            return self.__dict__ == other.__dict__
        return self.to_dict() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.__dict__.items())})"
        )


class Entity:
    """What all entities have: `project`, `name`, `kind`, `id`, `key`, `spec`, `metadata`, `status`."""

    ENTITY_TYPE: ClassVar = ""

    def __init__(self, said: dict[str, Any], content: str = "") -> None:
        self._said = said
        self._content = content
        self.project: str = said["project"]
        """The project's name."""
        self.name: str = said["name"]
        self.kind: str = said["kind"]
        self.id: str = said["id"]
        self.key: str = keys.key(self.project, self.ENTITY_TYPE, self.kind, self.name, self.id)
        """What it is named by elsewhere, such as among a run's inputs."""
        self.spec = Fields(said["spec"])
        self.metadata = Fields({"project": self.project, "name": self.name, **said["metadata"]})
        self.status = Fields({"state": "CREATED"})
        self.user = said.get("user")

    @property
    def uuid(self) -> str:
        """The id."""
        return self.id

    def to_dict(self) -> dict[str, Any]:
        """What is said of it, as JSON can say it."""
        return {
            "project": self.project,
            "name": self.name,
            "kind": self.kind,
            "id": self.id,
            "key": self.key,
            "metadata": self.metadata.to_dict(),
            "spec": self.spec.to_dict(),
            "status": self.status.to_dict(),
        }

    def refresh(self: E) -> E:
        """The same entity. Raises `errors.UnknownEntityError` where it was deleted."""
        store.get(self.project, self.ENTITY_TYPE, self.name, self.id)
        return self

    def delete(self) -> None:
        """Have this version go."""
        store.delete(self.project, self.ENTITY_TYPE, self.name, self.id)

    @property
    def _path(self) -> str:
        """Where its content lies. Raises `errors.EntityError` where that can't be read from here."""
        if self._content and written(self._content) is not None and os.path.lexists(self._content):
            return self._content
        _, self._content = store.get(self.project, self.ENTITY_TYPE, self.name, self.id)
        if not os.path.lexists(self._content):
            raise errors.EntityError(
                f"{self.key} has no content that can be read here"
                if self.spec.get("size") is not None
                else f"{self.key} has no content: it was made by new_{self.ENTITY_TYPE}(...) without one"
            )
        return self._content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> Any:
        return type(self), (self._said, self._content)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}>"


class Function(Entity):
    """A function: its source, which is kept, and what names the callable in it."""

    ENTITY_TYPE = "function"

    @property
    def handler(self) -> str:
        """`f`, `module:f` or `pkg.module:f`."""
        handler: str = self.spec["handler"]
        return handler

    @property
    def hash(self) -> str:
        """Of its source."""
        found: str = self.spec["source"]["hash"]
        return found

    @property
    def directory(self) -> str:
        """Where its source lies."""
        return self._path

    def run(
        self,
        action: str | None = "job",
        local_execution: bool = False,
        inputs: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
        init_parameters: dict[str, Any] | None = None,
        wait: bool = False,
        **task: Any,
    ) -> Any:
        """Begin a run of it, `action` "job", "serve" or "build": a `Run`. See `erl.functions.runs.run`."""
        import importlib

        runs = importlib.import_module("erl.functions.runs")
        return runs.run(self, action, local_execution, inputs, parameters, init_parameters, wait, **task)


class Artifact(Entity):
    """A file, or a folder, that is kept."""

    ENTITY_TYPE = "artifact"

    def as_file(self, destination: str | os.PathLike[str] | None = None) -> str:
        """The path of what is kept, which is not to be written to; of a copy at `destination`, where one is named."""
        if destination is None:
            return self._path
        return self.download(destination)

    def as_object(self) -> Any:
        """The object that a run has returned.

        Raises `errors.DecodeError` for what this node's key has not signed, before any of it is unpickled, and for what
        can't be.
        """
        if self.spec.get("format") == boxed.BYTES:
            with open(self._path, "rb") as file:
                return file.read()
        if self.spec.get("format") != signed.FORMAT:
            raise errors.DecodeError(
                f"{self.key} is a file, as_file(): it is no object that a run has returned and signed"
            )
        return signed.read(self._path, self.key)

    def download(self, destination: str | os.PathLike[str] | None = None, overwrite: bool = False) -> str:
        """Copy it to a path, or into a directory that is there, under the name that it had; the copy's path."""
        target = os.fspath(destination) if destination is not None else "."
        if os.path.isdir(target):
            name = os.path.basename(str(self.spec.get("file_name") or self.name))
            target = os.path.join(target, self.name if name in ("", ".", "..") else name)
        if os.path.lexists(target) and not overwrite:
            raise errors.EntityError(f"{target} is there already")
        if os.path.isfile(target):
            os.unlink(target)
        store.copy(self._path, target)
        return target


class Model(Artifact):
    """A model: a file, or a folder, that is kept, and what was said of it (`spec`)."""

    ENTITY_TYPE = "model"


class Dataitem(Artifact):
    """A table, or a file, that is kept."""

    ENTITY_TYPE = "dataitem"

    def as_df(self, file_format: str | None = None, engine: str | None = None, **keywords: Any) -> Any:
        """The data frame, of pandas or of `engine` "polars". `file_format` says what a file is whose name does not.

        The keywords are those of the library's function that reads it.
        """
        return data.read(
            self._path,
            file_format or self.spec.get("file_format") or data.format_of(self.spec.get("file_name") or ""),
            engine or self.spec.get("engine") or "pandas",
            self.key,
            keywords,
        )


CLASSES: dict[str, type[Entity]] = {kind.ENTITY_TYPE: kind for kind in (Function, Artifact, Model, Dataitem)}

loading.given.update({kind.__name__: kind for kind in (Artifact, Dataitem, Model)})


def get(project: str, type_: str, name: str, id_: str = "") -> Any:
    """An entity, the latest version where no id is named. Raises `errors.UnknownEntityError`."""
    return CLASSES[type_](*store.get(project, type_, name, id_))


def from_key(key: str) -> Any:
    """The entity of a key. Raises `errors.EntityError` for what is no key, `errors.UnknownEntityError`."""
    project, type_, kind, name, id_ = keys.parts(key)
    if type_ not in CLASSES:
        raise errors.EntityError(f"{key} is the key of a {type_}, which is no {', '.join(CLASSES)}")
    found = get(project, type_, name, id_)
    if found.kind != kind:
        raise errors.UnknownEntityError(f"there is no {key}: {found.key} is of another kind")
    return found


def written(content: str) -> tuple[int, int] | None:
    """Which file says what the entity is whose content lies there: another one has another; None without one."""
    try:
        found = os.stat(os.path.join(os.path.dirname(content), "entity.json"))
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def created() -> str:
    """Now, as metadata says it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
