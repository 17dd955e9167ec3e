"""What there is in projects: entities by key, or by name and project; lists; what is to go."""

from __future__ import annotations

from erl import errors
from erl.functions import entities, keys, store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.functions.entities import Artifact, Dataitem, Entity, Function, Model


def _get(type_: str, identifier: str, project: Any, entity_id: str | None) -> Any:
    if keys.is_key(identifier):
        _parts(type_, identifier)
        return entities.from_key(identifier)
    return entities.get(*_place(type_, identifier, project), _id(entity_id))


def _parts(type_: str, key: str) -> tuple[str, str, str]:
    """Project, name and id of a key. Raises `errors.EntityError` for one of another type."""
    project, found, _, name, id_ = keys.parts(key)
    if found != type_:
        raise errors.EntityError(f"{key} is the key of a {found}, not of a {type_}")
    return project, name, id_


def _place(type_: str, identifier: str, project: Any) -> tuple[str, str, str]:
    if project is None:
        raise errors.EntityError(f"{identifier!r:.80} is no key: a name needs its project, project='...'")
    return store.check_project(project), type_, store.check_name(identifier, f"the {type_}")


def _id(entity_id: str | None) -> str:
    return "" if entity_id is None else store.check_name(entity_id, "the id")


def _versions(type_: str, identifier: str, project: Any) -> list[Any]:
    if keys.is_key(identifier):
        project, identifier, _ = _parts(type_, identifier)
    return _listed(*_place(type_, identifier, project), is_latest=False)


def _list(type_: str, project: Any) -> list[Any]:
    return _listed(store.check_project(project), type_, "", is_latest=True)


def _listed(project: str, type_: str, name: str, *, is_latest: bool) -> list[Any]:
    kind = entities.CLASSES[type_]
    return [kind(said) for said in store.entities(project, type_, name, is_latest)]


def _delete(type_: str, identifier: str, project: Any, entity_id: str | None) -> None:
    id_ = _id(entity_id)
    if keys.is_key(identifier):
        project, identifier, id_ = _parts(type_, identifier)
    store.delete(*_place(type_, identifier, project), id_)


def get_entity(key: str) -> Entity:
    """The entity of a key. Raises `errors.UnknownEntityError`."""
    return entities.from_key(key)  # type: ignore[no-any-return]


def get_function(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> Function:
    """A function by its key, or by its name and project: the latest version, or the one of `entity_id`."""
    return _get("function", identifier, project, entity_id)  # type: ignore[no-any-return]


def get_function_versions(identifier: str, project: Any = None, **_: Any) -> list[Function]:
    """All versions of a function, as they were made."""
    return _versions("function", identifier, project)


def list_functions(project: Any, **_: Any) -> list[Function]:
    """The latest version of each function of a project."""
    return _list("function", project)


def delete_function(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> None:
    """Have a function go: all versions of a name, or the one of a key or an id."""
    _delete("function", identifier, project, entity_id)


def get_artifact(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> Artifact:
    """An artifact by its key, or by its name and project: the latest version, or the one of `entity_id`."""
    return _get("artifact", identifier, project, entity_id)  # type: ignore[no-any-return]


def get_artifact_versions(identifier: str, project: Any = None, **_: Any) -> list[Artifact]:
    """All versions of an artifact, as they were made."""
    return _versions("artifact", identifier, project)


def list_artifacts(project: Any, **_: Any) -> list[Artifact]:
    """The latest version of each artifact of a project."""
    return _list("artifact", project)


def delete_artifact(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> None:
    """Have an artifact go: all versions of a name, or the one of a key or an id."""
    _delete("artifact", identifier, project, entity_id)


def get_dataitem(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> Dataitem:
    """A data item by its key, or by its name and project: the latest version, or the one of `entity_id`."""
    return _get("dataitem", identifier, project, entity_id)  # type: ignore[no-any-return]


def get_dataitem_versions(identifier: str, project: Any = None, **_: Any) -> list[Dataitem]:
    """All versions of a data item, as they were made."""
    return _versions("dataitem", identifier, project)


def list_dataitems(project: Any, **_: Any) -> list[Dataitem]:
    """The latest version of each data item of a project."""
    return _list("dataitem", project)


def delete_dataitem(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> None:
    """Have a data item go: all versions of a name, or the one of a key or an id."""
    _delete("dataitem", identifier, project, entity_id)


def get_model(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> Model:
    """A model by its key, or by its name and project: the latest version, or the one of `entity_id`."""
    return _get("model", identifier, project, entity_id)  # type: ignore[no-any-return]


def get_model_versions(identifier: str, project: Any = None, **_: Any) -> list[Model]:
    """All versions of a model, as they were made."""
    return _versions("model", identifier, project)


def list_models(project: Any, **_: Any) -> list[Model]:
    """The latest version of each model of a project."""
    return _list("model", project)


def delete_model(identifier: str, project: Any = None, entity_id: str | None = None, **_: Any) -> None:
    """Have a model go: all versions of a name, or the one of a key or an id."""
    _delete("model", identifier, project, entity_id)
