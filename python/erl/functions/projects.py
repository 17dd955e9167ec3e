"""Projects, and what is made, found and deleted in them."""

from __future__ import annotations

from erl import errors
from erl.functions import finding, keys, making, runs, store
from erl.functions.entities import Fields

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from erl.functions.entities import Artifact, Dataitem, Function, Model


class Project:
    """What functions and what they work on belong to. It says itself where its entities are: it holds none."""

    ENTITY_TYPE: ClassVar = "project"

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said
        self.name: str = said["name"]
        self.kind: str = said["kind"]
        self.id: str = said["id"]
        self.key: str = f"store://{self.name}"
        self.spec = Fields(said["spec"])
        self.metadata = Fields({"project": self.name, "name": self.name, **said["metadata"]})
        self.status = Fields({"state": "CREATED"})

    # Functions

    def new_function(self, name: str, kind: str = "python", **keywords: Any) -> Function:
        """A function of this project; the keywords are those of `erl.functions.new_function`."""
        return making.new_function(self.name, name, kind, **keywords)

    def get_function(self, identifier: str, entity_id: str | None = None, **_: Any) -> Function:
        """A function by its name (the latest version, or the one of `entity_id`), or its key."""
        return finding.get_function(identifier, self.name, entity_id)

    def get_function_versions(self, identifier: str, **_: Any) -> list[Function]:
        """All versions of a function, as they were made."""
        return finding.get_function_versions(identifier, self.name)

    def list_functions(self, **_: Any) -> list[Function]:
        """The latest version of each function."""
        return finding.list_functions(self.name)

    def delete_function(self, identifier: str, entity_id: str | None = None, **_: Any) -> None:
        """Have a function go: all versions of a name, or the one of a key or an id."""
        finding.delete_function(identifier, self.name, entity_id)

    def run(self, function: str, action: str = "job", **keywords: Any) -> Any:
        """Begin a run of the latest version of a function."""
        return self.get_function(function).run(action, **keywords)

    def get_run(self, identifier: str, **_: Any) -> Any:
        """A run by its key, or its id."""
        return runs.get_run(identifier)

    def list_runs(self, **keywords: Any) -> list[Any]:
        """The runs of this project; the keywords are those of `erl.functions.list_runs`."""
        return runs.list_runs(self.name, **keywords)

    def delete_run(self, identifier: str, **_: Any) -> None:
        """Forget a run that has ended."""
        runs.delete_run(identifier)

    # Artifacts

    def new_artifact(self, name: str, kind: str = "artifact", **keywords: Any) -> Artifact:
        """An artifact of this project, see `erl.functions.log_artifact`."""
        return making.new_artifact(self.name, name, kind, **keywords)

    def log_artifact(self, name: str, kind: str = "artifact", **keywords: Any) -> Artifact:
        """Keep a file, or a folder; the keywords are those of `erl.functions.log_artifact`."""
        return making.log_artifact(self.name, name, kind, **keywords)

    def get_artifact(self, identifier: str, entity_id: str | None = None, **_: Any) -> Artifact:
        """An artifact by its name (the latest version, or the one of `entity_id`), or its key."""
        return finding.get_artifact(identifier, self.name, entity_id)

    def get_artifact_versions(self, identifier: str, **_: Any) -> list[Artifact]:
        """All versions of an artifact, as they were made."""
        return finding.get_artifact_versions(identifier, self.name)

    def list_artifacts(self, **_: Any) -> list[Artifact]:
        """The latest version of each artifact."""
        return finding.list_artifacts(self.name)

    def delete_artifact(self, identifier: str, entity_id: str | None = None, **_: Any) -> None:
        """Have an artifact go: all versions of a name, or the one of a key or an id."""
        finding.delete_artifact(identifier, self.name, entity_id)

    # Data items

    def new_dataitem(self, name: str, kind: str = "table", **keywords: Any) -> Dataitem:
        """A data item of this project, see `erl.functions.log_dataitem`."""
        return making.new_dataitem(self.name, name, kind, **keywords)

    def log_dataitem(self, name: str, kind: str = "table", **keywords: Any) -> Dataitem:
        """Keep a data frame, or a file; the keywords are those of `erl.functions.log_dataitem`."""
        return making.log_dataitem(self.name, name, kind, **keywords)

    def get_dataitem(self, identifier: str, entity_id: str | None = None, **_: Any) -> Dataitem:
        """A data item by its name (the latest version, or the one of `entity_id`), or its key."""
        return finding.get_dataitem(identifier, self.name, entity_id)

    def get_dataitem_versions(self, identifier: str, **_: Any) -> list[Dataitem]:
        """All versions of a data item, as they were made."""
        return finding.get_dataitem_versions(identifier, self.name)

    def list_dataitems(self, **_: Any) -> list[Dataitem]:
        """The latest version of each data item."""
        return finding.list_dataitems(self.name)

    def delete_dataitem(self, identifier: str, entity_id: str | None = None, **_: Any) -> None:
        """Have a data item go: all versions of a name, or the one of a key or an id."""
        finding.delete_dataitem(identifier, self.name, entity_id)

    # Models

    def new_model(self, name: str, kind: str = "model", **keywords: Any) -> Model:
        """A model of this project, see `erl.functions.log_model`."""
        return making.new_model(self.name, name, kind, **keywords)

    def log_model(self, name: str, kind: str = "model", **keywords: Any) -> Model:
        """Keep a model's file, or folder; the keywords are those of `erl.functions.log_model`."""
        return making.log_model(self.name, name, kind, **keywords)

    def get_model(self, identifier: str, entity_id: str | None = None, **_: Any) -> Model:
        """A model by its name (the latest version, or the one of `entity_id`), or its key."""
        return finding.get_model(identifier, self.name, entity_id)

    def get_model_versions(self, identifier: str, **_: Any) -> list[Model]:
        """All versions of a model, as they were made."""
        return finding.get_model_versions(identifier, self.name)

    def list_models(self, **_: Any) -> list[Model]:
        """The latest version of each model."""
        return finding.list_models(self.name)

    def delete_model(self, identifier: str, entity_id: str | None = None, **_: Any) -> None:
        """Have a model go: all versions of a name, or the one of a key or an id."""
        finding.delete_model(identifier, self.name, entity_id)

    # The project

    def to_dict(self) -> dict[str, Any]:
        """What is said of it, as JSON can say it."""
        said = {each: self._said[each] for each in ("name", "kind", "id")}
        return {**said, "key": self.key, "metadata": self.metadata.to_dict(), "spec": self.spec.to_dict()}

    def refresh(self) -> Project:
        """The same project. Raises `errors.UnknownEntityError` where it was deleted."""
        return get_project(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Project) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> Any:
        return Project, (self._said,)

    def __repr__(self) -> str:
        return f"<Project {self.name}>"


def new_project(
    name: str, description: str | None = None, labels: list[str] | None = None, **_: Any
) -> Project:
    """A new project. Raises `errors.EntityExistsError` where there is one of that name."""
    store.check_project(name)
    said = {
        "project": name,
        "type": "project",
        "kind": "project",
        "name": name,
        "id": keys.project_id(name),
        "key": f"store://{name}",
        "metadata": making.metadata(description, labels, True),
        "spec": {},
    }
    store.put(said)
    return Project(said)


def get_project(name: str, **_: Any) -> Project:
    """A project. Raises `errors.UnknownEntityError`."""
    return Project(store.get(store.check_project(name), "project", name, keys.project_id(name))[0])


def get_or_create_project(name: str, **keywords: Any) -> Project:
    """The project of that name, a new one where there is none; two that ask at once have the same one."""
    try:
        return get_project(name)
    except errors.UnknownEntityError:
        pass
    try:
        return new_project(name, **keywords)
    except errors.EntityExistsError:
        return get_project(name)


def list_projects(**_: Any) -> list[Project]:
    """All projects, by their names."""
    return [get_project(name) for name in store.projects()]


def delete_project(name: str, **_: Any) -> None:
    """Have a project go, with all entities that are in it. Its runs stay until they are pruned."""
    store.delete(store.check_project(name))
