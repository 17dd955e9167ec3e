"""The action `serve` of a function: `function.run("serve", replicas=2, ...)` is a service, as long as its node lives.

A run of it is RUNNING while the service is there, and ERROR where it has not started; `status.service` says where it
listens, and `invoke` asks it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid

from erl import errors
from erl.functions import jobs, nodes, runs
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

    from erl.functions.actions import Asked

_BODIES: Final = ("data", "json", "files")


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
    if asked.task.secrets:
        raise ValueError("a service takes no secrets yet; a file that init_function reads can hold them")
    spec = jobs.said_of(function, asked)
    run = ServeRun(str(uuid.uuid4()), spec)
    run._start(options(run.service_name, function, asked), asked.warnings)
    return run


def options(name: str, function: Any, asked: Asked) -> list[tuple[Any, Any]]:
    """The options of `py_service`."""
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
        "name": name.encode(),
        "handler": f"{function.name}:{function.handler.rpartition(':')[2]}".encode(),
        "source": text.encode(),
        "python": sys.executable.encode(),
        **{each: _term(value) for each, value in task.serving.items()},
    }
    if task.replicas is not None:
        made["replicas"] = task.replicas
    if task.timeout is not None:
        made["timeout"] = max(1, round(task.timeout * 1000))
    if task.memory_bytes is not None:
        made["max_memory"] = task.memory_bytes
    if task.envs:
        made["env"] = [(name_.encode(), value.encode()) for name_, value in task.envs]
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
    """A service, as a run."""

    def __init__(self, run_id: str, spec: dict[str, Any] | None = None) -> None:
        super().__init__(run_id, spec)
        self._transitions: list[dict[str, Any]] = []
        self._url = ""
        self._token_file = ""
        for state in ("CREATED", "PENDING"):
            self._to(state, "")

    @property
    def service_name(self) -> str:
        """What the node knows the service by."""
        assert self._spec is not None
        return f"{self._spec['project']}/{self._spec['name']}/{self.id}"

    def _start(self, asked: list[tuple[Any, Any]], warnings: list[str]) -> None:
        self._token_file = next((value.decode() for key, value in asked if key == "token_file"), "")
        if problem := nodes.text_of(nodes.call("py_service_sup", "problem", [asked])):
            raise ValueError(f"a service: {problem}")
        try:
            nodes.call("py_service", "start", [asked])
        except errors.EntityError as error:
            self._to("ERROR", str(error))
        else:
            self._url = self._found() or ""
            self._to("RUNNING", "")
        self.status.warnings = list(warnings)

    def _found(self) -> str | None:
        """Where it listens, as the node says; None where it is gone."""
        for info in nodes.call("py_service", "list", []):
            said = {str(key): value for key, value in dict(info).items()}
            if nodes.text_of(said["name"]) == self.service_name:
                return nodes.text_of(said["url"])
        return None

    def _to(self, state: str, message: str) -> None:
        self._transitions.append({"status": state, "time": round(time.time() * 1000), "message": message})
        info = {"state": state, "message": message, "transitions": self._transitions, "attempt": 1}
        self._status = runs._status(info)
        if state == "RUNNING":
            self._status.__dict__["service"] = {"url": self._url}

    def refresh(self) -> ServeRun:
        """Hear whether the service is there."""
        if self.status.state == "RUNNING" and self._found() is None:
            self._to("STOPPED", "the service is not there any more")
        return self

    def wait(self, timeout: float | None = None) -> ServeRun:
        """Nothing: it serves already, and has no end of its own."""
        return self.refresh()

    def stop(self, wait: bool = True) -> ServeRun:
        """Stop the service: requests that are open are answered, new ones are not taken."""
        if self.status.state == "RUNNING":
            with contextlib.suppress(errors.EntityError):  # it was stopped by somebody else
                nodes.call("py_service", "stop", [self.service_name.encode()])
            self._to("STOPPED", "")
        return self

    def retry(self) -> ServeRun:
        """Raises `errors.EntityError`: another run is another service."""
        raise errors.EntityError("a service is not retried: run the function again")

    def logs(self) -> str:
        """Nothing: what replicas log is in the log of their node, with the ids of requests."""
        return ""

    def _gave(self) -> dict[str, Any]:
        return {"results": {}, "outputs": {}, "warnings": []}

    def delete(self) -> None:
        """Stop it."""
        self.stop()

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
        if self.status.state != "RUNNING":
            raise errors.RunError(
                f"the service does not run, it is {self.status.state}: {self.status.message}"
            )
        if method == "POST" and all(kwargs.get(name) is None for name in _BODIES):
            method = "GET"
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before a service of this machine
            if self._token_file:
                with open(self._token_file, encoding="ascii") as file:
                    session.headers["authorization"] = f"Bearer {file.read().strip()}"
            return session.request(method, self._own(url), **kwargs)

    def _own(self, url: str | None) -> str:
        if url is None:
            return f"{self._url}/"
        if url.startswith("/") and not url.startswith("//"):
            return self._url + url
        from urllib.parse import urlsplit

        try:
            asked, own = urlsplit(url), urlsplit(self._url)
            is_own = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
        except ValueError:
            is_own = False
        if not is_own or asked.username is not None or asked.password is not None:
            raise ValueError(f"{url} is none of this service's URLs, which begin with {self._url}/")
        return url


Run = ServeRun
