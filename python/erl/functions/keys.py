"""Keys of entities: `store://<project>/<type>/<kind>/<name>:<id>`; without the id the latest version is meant."""

from __future__ import annotations

import re
import uuid

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final

_PART: Final = r"([a-z0-9][a-z0-9-]{0,62})"
_KEY: Final = re.compile(rf"store://{_PART}/{_PART}/{_PART}/{_PART}(?::{_PART})?")


def key(project: str, type_: str, kind: str, name: str, id_: str) -> str:
    """The key of a version."""
    return f"store://{project}/{type_}/{kind}/{name}:{id_}"


def is_key(text: object) -> bool:
    """Whether it is meant as a key, right or wrong, rather than as a name."""
    return isinstance(text, str) and text.startswith("store://")


def parts(text: object) -> tuple[str, str, str, str, str]:
    """Project, type, kind, name and id (or "") of a key. Raises `errors.EntityError`."""
    found = _KEY.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise errors.EntityError(
            f"{text!r:.100} is no key: it is store://project/type/kind/name:id, as an entity's `key` has it"
        )
    project, type_, kind, name, id_ = found.groups()
    return project, type_, kind, name, id_ or ""


def new_id(given: object = None) -> str:
    """The id that was given, a UUID, or a new one. Raises `errors.EntityError`."""
    if given is None:
        return str(uuid.uuid4())
    try:
        return str(given if isinstance(given, uuid.UUID) else uuid.UUID(str(given)))
    except ValueError:
        raise errors.EntityError(f"the uuid {given!r:.100} is none: it is as uuid.uuid4() has it") from None


def project_id(name: str) -> str:
    """The id of a project, which follows from its name: whoever makes it, and when, it is the same one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"store://{name}"))
