"""The action `serve` of a function: `function.run("serve", replicas=2, ...)` is a run that is a service.

It is RUNNING while the service is there, and ERROR where it can't start; `status.service` says where it listens, and
`invoke` asks it. On a node of the program's own it ends with that; another node has it again when it is started again.
"""

from __future__ import annotations

import contextlib
import json
import time

from erl import errors
from erl.functions import jobs, nodes, runs
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

    from erl.functions.actions import Asked

_BODIES: Final = ("data", "json", "files")
_BEFORE: Final = ("CREATED", "PENDING", "BUILDING", "READY")
_FIRST_PAUSE: Final = 0.005
_MOST_PAUSE: Final = 0.1
"""Seconds."""


def start(function: Any, asked: Asked) -> ServeRun:
    """Start a service; returns when it serves, or can't: then the run is ERROR, and its message says why.

    Raises `ValueError` for what a service does not take.
    """
    if asked.local_execution:
        raise ValueError("a service runs in replicas: local_execution is for jobs")
    if asked.inputs or asked.parameters:
        raise ValueError(
            "a service has init_parameters; the handler's parameters come with each request: "
            'run.invoke(json={"name": value})'
        )
    if asked.task.cpus is not None:
        asked.warnings.append("resources: cpu has no effect on a service")
    made = options(function, asked)
    if problem := nodes.text_of(nodes.call("py_service_sup", "problem", [made])):
        raise ValueError(f"a service: {problem}")
    spec = jobs.said_of(function, asked)
    # A program's own node ends with it, and the service with that; another node has it again when it is started again.
    node = nodes.asked_one()
    service = [node is None or not node.is_own, made]
    run = ServeRun(jobs.begin(spec, asked, jobs.environment_of(function), [(Atom("service"), service)]), spec)
    run._await()
    run.status.warnings = list(asked.warnings)
    return run


def options(function: Any, asked: Asked) -> list[tuple[Any, Any]]:
    """The options of `py_service`, but for those that the run has."""
    task = asked.task
    source = {
        "directory": function.directory,
        "hash": function.hash,
        "handler": function.handler,
        "init_function": function.spec.get("init_function"),
        "init_parameters": asked.init_parameters,
        "project": function.project,
    }
    try:
        text = json.dumps(source, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the init_parameters of a service are what JSON can say: {error}") from error
    made: dict[str, Any] = {
        "handler": f"{function.name}:{function.handler.rpartition(':')[2]}".encode(),
        "source": text.encode(),
        **{each: _term(value) for each, value in task.serving.items()},
    }
    if task.replicas is not None:
        made["replicas"] = task.replicas
    if task.timeout is not None:
        made["timeout"] = max(1, round(task.timeout * 1000))
    return [(Atom(each), value) for each, value in made.items()]


def _term(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (list, tuple)):
        return [_term(each) for each in value]
    if isinstance(value, dict):
        return [(Atom(name), _term(each)) for name, each in value.items()]
    return value


class ServeRun(runs.Run):
    """A run that is a service: RUNNING while it serves, and `status.service` says where."""

    def _await(self) -> None:
        """Wait until it serves, or can't."""
        pause = _FIRST_PAUSE
        while self.refresh().status.state in _BEFORE:
            time.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE)

    def wait(self, timeout: float | None = None) -> ServeRun:
        """Nothing: it serves already, and has no end of its own."""
        self.refresh()
        return self

    def retry(self) -> ServeRun:
        """Start a service again that was stopped, or could not start; returns when it serves, or can't."""
        super().retry()
        self._await()
        return self

    def stop(self, wait: bool = True) -> ServeRun:
        """Stop the service: requests that are open are answered, new ones are not taken."""
        if not self.refresh().has_ended:
            with contextlib.suppress(errors.EntityError):  # it has ended meanwhile
                self._asked("stop")
            if wait:
                super().wait()
        self.refresh()
        return self

    def _gave(self) -> dict[str, Any]:
        return {"results": {}, "outputs": {}, "warnings": []}

    def delete(self) -> None:
        """Stop it, and forget it with its log."""
        self.stop()
        super().delete()

    def invoke(self, method: str = "POST", url: str | None = None, **kwargs: Any) -> Any:
        """Ask the service: the answer of `requests.request`, which takes `kwargs`; GET where there is no body.

        `url` is a path of the service, or one of its URLs. Raises `ValueError` for another one, `errors.RunError` where
        the service does not run, and what `requests` raises.
        """
        try:
            import requests
        except ImportError as error:
            raise errors.RunError(
                "run.invoke needs requests, of the extra serve: pip install 'erl-bridge[serve]'"
            ) from error
        if self.refresh().status.state != "RUNNING":
            raise errors.RunError(
                f"the service does not run, it is {self.status.state}: {self.status.message}"
            )
        if method == "POST" and all(kwargs.get(name) is None for name in _BODIES):
            method = "GET"
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before a service of this machine
            if token_file := self._said()["task"].get("token_file"):
                with open(token_file, encoding="ascii") as file:
                    session.headers["authorization"] = f"Bearer {file.read().strip()}"
            return session.request(method, _own(url, self.status.service["url"]), **kwargs)


def _own(url: str | None, base: str) -> str:
    """That URL, or path, of the service at `base`. Raises `ValueError` for another one's."""
    if url is None:
        return f"{base}/"
    if url.startswith("/") and not url.startswith("//"):
        return base + url
    from urllib.parse import urlsplit

    try:
        asked, own = urlsplit(url), urlsplit(base)
        is_own = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
    except ValueError:
        is_own = False
    if not is_own or asked.username is not None or asked.password is not None:
        raise ValueError(f"{url} is none of this service's URLs, which begin with {base}/")
    return url


Run = ServeRun
