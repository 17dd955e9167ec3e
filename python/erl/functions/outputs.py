"""What a handler has returned, kept: results as they are, the rest as entities of the run's project.

| a value | is |
|---|---|
| None, a truth, a number, a text; a list, tuple or dict of such | a result |
| a data frame | a data item |
| an artifact, a data item, a model that the handler has logged itself | that one |
| bytes, any other object | an artifact: a pickle that the node's key has signed |

The ids follow from the run and the output's name: what an attempt has kept that was lost, the next one replaces.
"""

from __future__ import annotations

import os
import tempfile
import uuid

from erl import errors
from erl.functions import boxed, data, entities, handlers, said, signed

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

MOST_RESULT_BYTES: Final = 16 << 20
"""What exceeds them, of all results of a run together, is kept as artifacts."""


class Outputs:
    """What a run has given."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.outputs: dict[str, str] = {}
        """The keys of entities."""
        self.warnings: list[str] = []
        self.bytes = 0
        """Of the results."""


def kept(value: Any, declared: handlers.Declared, project: Any, run_id: str) -> Outputs:
    """Keep what a handler has returned. `project` is what gives the project, where there is something for it.

    Raises `errors.EntityError` and `errors.EncodeError` for what can't be kept, with the output's name.
    """
    made = Outputs()
    named, made.warnings = handlers.split(value, declared)
    for place, (output, item) in enumerate(named):
        if output.kind is None and _is_result(output.name, item, made):
            made.results[output.name] = said.plain(item)
        elif isinstance(item, entities.Entity):
            made.outputs[output.name] = item.key
        else:
            made.outputs[output.name] = _logged(output, item, place, project(), run_id)
    return made


def _is_result(name: str, value: Any, made: Outputs) -> bool:
    try:
        text = said.dumps(value)
    except said.NotSaid:
        return False
    made.bytes += len(text)
    if made.bytes > MOST_RESULT_BYTES:
        made.bytes -= len(text)
        made.warnings.append(
            f"the result {name} has {len(text)} bytes: it is kept as an artifact, run.output({name!r})"
        )
        return False
    return True


def _logged(output: handlers.Output, value: Any, place: int, project: Any, run_id: str) -> str:
    """The key of the entity that it is kept as."""
    kind = output.kind or ("dataitem" if data.is_frame(value) else "artifact")
    type_ = handlers.ENTITIES[kind]
    name = handlers.entity_name(output.name, place)
    own = str(uuid.uuid5(uuid.NAMESPACE_URL, f"run://{run_id}/{output.name}"))
    keywords: dict[str, Any] = {"name": name, "uuid": own, **output.spec_kwargs}
    if output.kind is not None:
        keywords["kind"] = kind
    try:
        if type_ == "dataitem":
            return _logged_frame(project, type_, value, keywords)
        return _logged_pickle(project, type_, value, keywords)
    except (errors.EncodeError, errors.EntityError, OSError) as error:
        raise _named(error, output.name) from None


def _named(error: Exception, name: str) -> Exception:
    """The same, saying whose it is. (An `OSError` has a number, which says to others what it is.)"""
    if isinstance(error, OSError):
        return OSError(error.errno, f"the output {name}: {error.strerror}")
    return type(error)(f"the output {name}: {error}")


def _logged_frame(project: Any, type_: str, value: Any, keywords: dict[str, Any]) -> str:
    return _replaced(project, type_, {**keywords, "data": value})


def _logged_pickle(project: Any, type_: str, value: Any, keywords: dict[str, Any]) -> str:
    # Bytes that come out of a box are bytes.
    is_plain = type(value) is bytes and boxed.current() is not None
    pickled = value if is_plain else signed.dumps(value)
    with tempfile.TemporaryDirectory(prefix="py-") as directory:
        path = os.path.join(directory, f"{keywords['name']}.pickle")
        with open(path, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(pickled)
        del pickled
        return _replaced(
            project,
            type_,
            {"format": boxed.BYTES if is_plain else signed.FORMAT, **keywords, "source_path": path},
        )


def _replaced(project: Any, type_: str, keywords: dict[str, Any]) -> str:
    log = getattr(project, f"log_{type_}")
    try:
        key: str = log(**keywords).key
    except errors.EntityExistsError:
        entities.get(project.name, type_, keywords["name"], keywords["uuid"]).delete()
        key = log(**keywords).key
    return key
