"""Runs of functions, as a program sees them: what is asked, waited for, and given.

The node owns a run; an object here has its id, and what was last heard of it.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

from erl import errors
from erl.functions import actions, arguments, entities, nodes, said
from erl.functions.entities import Fields
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

ENDED: Final = frozenset(("COMPLETED", "ERROR", "STOPPED"))
STATES: Final = ("CREATED", "PENDING", "BUILDING", "READY", "RUNNING", "COMPLETED", "ERROR", "STOPPED")
KIND: Final = "python+run"

_KEY: Final = re.compile(r"store://[a-z0-9-]+/run/[a-z0-9+-]+[/:]([A-Za-z0-9-]+)\Z")
_PAGE: Final = 1000


class Status(Fields):
    """The state of a run: `state`, `message`, `transitions`, and `warnings`."""

    state: str
    message: str
    """Why: of an ERROR the exception's class and text."""
    transitions: list[dict[str, str]]
    """The states that it has been in, `{"status", "time", "message"}`; times as ISO 8601 has them."""
    warnings: list[str]
    service: dict[str, str]
    """Of a run that serves: its `url`."""


def run(
    function: Any,
    action: str | None = "job",
    local_execution: bool = False,
    inputs: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    init_parameters: dict[str, Any] | None = None,
    wait: bool = False,
    **task: Any,
) -> Any:
    """Begin a run of a function: written down when this returns, and run whatever dies then.

    `inputs` (names of arguments, keys of entities), `parameters` (names and values), `init_parameters` (of the
    `init_function`); `local_execution=True` runs it here and now; `wait=True` waits for its end. `pool` says whose
    workers run it; with a `key` that a run of the project has already that has not failed, it is that one. The
    parameters of the task: `backoff_limit` (or `retries`), `timeout` (seconds), `envs`, `secrets`, `resources`,
    `volumes`. Raises `TypeError` and `ValueError` for what is none of these, `errors.EntityError` for what can't be
    kept.
    """
    return actions.begin(function, action, local_execution, inputs, parameters, init_parameters, wait, **task)


class Run:
    """A run of a function."""

    ENTITY_TYPE = "run"
    kind = KIND

    def __init__(self, run_id: str, spec: dict[str, Any] | None = None) -> None:
        self.id = run_id
        self._spec = spec
        self._status: Status | None = None
        self._given: dict[str, Any] | None = None
        self._project: str | None = None if spec is None else spec["project"]
        self.function: str = "" if spec is None else spec["name"]
        """The function's name."""

    # What the node says

    def _heard(self, info: dict[str, Any]) -> None:
        self._project = nodes.text_of(info["project"])
        self.function = nodes.text_of(info["function"])
        self._status = _status(info)

    def refresh(self) -> Run:
        """Hear of the run's state."""
        self._heard(self._asked("get"))
        return self

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the run's end, however it ends. `timeout` is in seconds.

        Raises `errors.AnswerTimeoutError` where it has not ended by then.
        """
        if not self.has_ended:
            milliseconds: Any = Atom("infinity") if timeout is None else max(0, round(timeout * 1000))
            answer = nodes.call("py_function", "wait_run", [self.id.encode(), milliseconds])
            if answer == "timeout":
                raise errors.AnswerTimeoutError(f"the run {self.id} has not ended in {timeout} seconds")
            info, document = answer
            self._heard(info)
            if document != "none":
                self._tell(_read_document(document))
        return self

    def _asked(self, what: str) -> Any:
        return nodes.call("py_run", what, [self.id.encode()])

    def logs(self) -> str:
        """What the run has printed and logged, and the tracebacks of its attempts."""
        return nodes.text_of(self._asked("logs"))

    def stop(self, wait: bool = True) -> Run:
        """Have the run end, and wait until nothing of it can run any more. One that has ended stays as it is."""
        if not self.refresh().has_ended:
            try:
                self._asked("stop")
            except errors.EntityError:
                if not self.refresh().has_ended:
                    raise
            if wait:
                self.wait()
        return self.refresh()

    def retry(self) -> Run:
        """Try a run again that has failed or was stopped. Raises `errors.EntityError` for others."""
        self._asked("retry")
        self._given = None
        return self.refresh()

    @property
    def status(self) -> Status:
        """What was last heard: `refresh` asks."""
        if self._status is None:
            self.refresh()
        assert self._status is not None
        if self._status.state == "COMPLETED" and self._given is None:
            self._tell_warnings()
        return self._status

    def _tell_warnings(self) -> None:
        try:
            given = _read_document(nodes.call("py_function", "document", [self.id.encode()]))
        except errors.EntityError:  # it was pruned, or is of another kind
            given = {"results": {}, "outputs": {}, "warnings": []}
        self._tell(given)

    def _tell(self, given: dict[str, Any]) -> None:
        status, self._given = self._status, given
        assert status is not None
        status.warnings = [*status.warnings, *self._given["warnings"]]
        if not status.message:
            status.message = "; ".join(status.warnings)

    @property
    def has_ended(self) -> bool:
        """Whether it had ended when it was last heard of."""
        return self._status is not None and self._status.state in ENDED

    # What it was begun with

    @property
    def project(self) -> str:
        """The project's name."""
        if self._project is None:
            self.refresh()
        assert self._project is not None
        return self._project

    @property
    def key(self) -> str:
        """What the run is named by."""
        return f"store://{self.project}/run/{KIND}/{self.id}"

    @property
    def name(self) -> str:
        """The id."""
        return self.id

    @property
    def spec(self) -> Fields:
        """What it was begun with: `action`, `function` (a key), `inputs`, `parameters`, `init_parameters`, `task`."""
        asked = self._said()
        return Fields(
            {
                "action": asked["action"],
                "function": asked["function"],
                "inputs": dict(asked["inputs"]),
                "parameters": arguments.unpacked(asked["parameters"], "the parameter"),
                "init_parameters": arguments.unpacked(asked["init_parameters"], "the init parameter"),
                "task": dict(asked["task"]),
                "local_execution": asked.get("local_execution", False),
                **asked["task"],
            }
        )

    def _said(self) -> dict[str, Any]:
        if self._spec is None:
            self._spec = json.loads(nodes.call("py_function", "said", [self.id.encode()]))
        return self._spec

    def inputs(self, as_key: bool = False) -> dict[str, Any]:
        """The entities that it was given, or their keys, by the names of arguments."""
        keys = dict(self._said()["inputs"])
        return keys if as_key else {name: entities.from_key(key) for name, key in keys.items()}

    # What it has given

    def _gave(self) -> dict[str, Any]:
        """Raises `errors.RunError` where it has given nothing."""
        if not self.has_ended:
            self.refresh()
        state = self.status.state
        if state != "COMPLETED":
            why = f": {self.status.message}" if self.status.message else ""
            raise errors.RunError(f"the run {self.id} has no results, it is {state}{why}")
        assert self._given is not None  # `status` has read it
        return self._given

    def outputs(self, as_key: bool = False) -> dict[str, Any]:
        """The entities that it has given, or their keys, by the names of outputs.

        Raises `errors.RunError` for a run that has not ended, or that has failed, as the following do.
        """
        keys = dict(self._gave()["outputs"])
        return keys if as_key else {name: entities.from_key(key) for name, key in keys.items()}

    def output(self, output_name: str, as_key: bool = False) -> Any:
        """One of them. Raises `KeyError` where there is none of that name."""
        key = self._named("outputs", output_name)
        return key if as_key else entities.from_key(key)

    def results(self) -> dict[str, Any]:
        """The values that it has given, by the names of outputs."""
        return dict(self._gave()["results"])

    def result(self, result_name: str) -> Any:
        """One of them. Raises `KeyError` where there is none of that name."""
        return self._named("results", result_name)

    def _named(self, what: str, name: str) -> Any:
        gave = self._gave()
        if name not in gave[what]:
            there = ", ".join(f"{each} {sorted(gave[each])}" for each in ("results", "outputs"))
            raise KeyError(f"there is no {name!r} among the {what} of this run, which has the {there}")
        return gave[what][name]

    def delete(self) -> None:
        """Forget it, with its files. Raises `errors.EntityError` where it has not ended."""
        delete_run(self.id)

    def to_dict(self) -> dict[str, Any]:
        """What is known of it, as JSON can say it."""
        asked = self._said()
        return {
            "project": self.project,
            "kind": KIND,
            "id": self.id,
            "key": self.key,
            "spec": asked,
            "status": self.status.to_dict(),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        state = "not heard of" if self._status is None else self._status.state
        return f"<{type(self).__name__} {self.id}, {state}>"


def _read_document(text: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return {**read, "results": {name: said.from_json(value) for name, value in read["results"].items()}}


def _status(info: dict[str, Any]) -> Status:
    url = (info.get("service") or {}).get("url")
    return Status(
        {
            **({} if url is None else {"service": {"url": nodes.text_of(url)}}),
            "state": str(info["state"]),
            "message": nodes.text_of(info["message"]),
            "transitions": [
                {
                    "status": str(each["status"]),
                    "time": time_text(each["time"]),
                    "message": nodes.text_of(each["message"]),
                }
                for each in info["transitions"]
            ],
            "warnings": [],
            "attempt": info["attempt"],
        }
    )


def time_text(milliseconds: int) -> str:
    """A time since the epoch as ISO 8601 has it."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")


# All runs


def run_id_of(identifier: str) -> str:
    """The id in a key, or the id itself."""
    found = _KEY.match(identifier)
    return identifier if found is None else found[1]


def in_box(run_id: str, asked: dict[str, Any]) -> Run:
    """The run that this code is part of, in a box: what is known of it there. It can't ask its node for more."""
    made = Run(run_id, asked)
    made._status = Status(
        {"state": "RUNNING", "message": "", "transitions": [], "warnings": [], "attempt": 1}
    )
    return made


def get_run(identifier: str, project: str | None = None, **_: Any) -> Run:
    """A run by its key or its id. Raises `errors.EntityError` where there is none."""
    run_id = run_id_of(identifier)
    info = nodes.call("py_run", "get", [run_id.encode()])
    return _of(info)


def _of(info: dict[str, Any]) -> Run:
    kind: type[Run] = actions.module("serve").Run if "service" in info else Run
    run = kind(nodes.text_of(info["id"]))
    run._heard(info)
    return run


def list_runs(
    project: Any = None, function: Any = None, state: str | list[str] | None = None, **_: Any
) -> list[Run]:
    """The runs of a project, of a function, in a state, in the order in which they were begun."""
    asked: dict[str, Any] = {}
    for name, value in (("project", project), ("function", function)):
        if value is not None:
            asked[name] = str(getattr(value, "name", value)).encode()
    if state is not None:
        states = [state] if isinstance(state, str) else list(state)
        unknown = sorted(set(states) - set(STATES))
        if unknown:
            raise ValueError(f"there is no state {', '.join(unknown)}; there are {', '.join(STATES)}")
        asked["state"] = [Atom(each) for each in states]
    found: list[Run] = []
    while True:
        filtered = [(Atom(name), value) for name, value in {**asked, "limit": _PAGE}.items()]
        if found:
            filtered.append((Atom("after"), found[-1].id.encode()))
        page = nodes.call("py_function", "list_runs", [filtered])
        found += [_of(info) for info in page]
        if len(page) < _PAGE:
            return found


def delete_run(identifier: str, project: str | None = None, **_: Any) -> None:
    """Forget a run that has ended, with its files. Raises `errors.EntityError` for one that has not."""
    nodes.call("py_function", "forget", [run_id_of(identifier).encode()])


def prune_runs(project: Any = None, function: Any = None, state: str | list[str] | None = None) -> int:
    """Forget the runs that have ended, with their files; how many they were."""
    count = 0
    for each in list_runs(project, function, state or sorted(ENDED)):
        if each.has_ended:
            delete_run(each.id)
            count += 1
    return count
