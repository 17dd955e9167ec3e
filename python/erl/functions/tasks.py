"""The parameters of a task: what they may be, and what they come to for `py_run`."""

from __future__ import annotations

import math
import os
import re

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

NO_EFFECT: Final = ("affinity", "node_selector", "profile", "service_type", "tolerations")
"""What a cluster's scheduler would read. There is none here."""

NO_BOX: Final = (
    "volumes have no effect outside of a box: the run finds the machine's own directories; pool='...' names a pool of "
    "boxes (sandbox => bwrap)"
)
"""What there is to say of volumes, unless the run's pool has boxes."""

SERVING: Final = ("fronts", "hosts", "ip", "max_body", "max_queue", "port", "threads", "tls", "token_file")
"""What a service takes beside these; the node looks at the values."""

_MOST_RETRIES: Final = 1000
_MOST_ENVS: Final = 1000
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-zA-Z]*)\s*\Z")
_UNITS: Final = {
    "": 1,
    "m": 0.001,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    **{f"{letter}i": 1 << (10 * power) for power, letter in enumerate("KMGTP", 1)},
}
_NO_VOLUMES: Final = ("config_map", "secret")
_LEAST_MEMORY: Final = 1 << 20
_SECRET: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


class Task:
    """The checked parameters of one."""

    __slots__ = (
        "cpus",
        "envs",
        "instructions",
        "memory_bytes",
        "replicas",
        "retries",
        "secrets",
        "serving",
        "timeout",
        "volumes",
    )

    def __init__(self) -> None:
        self.retries = 0
        self.timeout: float | None = None
        self.envs: list[tuple[str, str]] = []
        self.secrets: list[str] = []
        self.cpus: float | None = None
        self.memory_bytes: int | None = None
        self.volumes: list[dict[str, Any]] = []
        self.replicas: int | None = None
        self.serving: dict[str, Any] = {}
        self.instructions: list[str] = []


def checked(action: str, given: dict[str, Any]) -> tuple[Task, list[str]]:
    """The parameters of a task of this action, and the warnings about them.

    Raises `TypeError` and `ValueError`, which name the parameter.
    """
    task, warnings = Task(), []
    asked = {name: value for name, value in given.items() if value is not None}
    for name in NO_EFFECT:
        if asked.pop(name, None) is not None:
            warnings.append(f"{name} has no effect here: there is no cluster that would schedule by it")
    if action == "serve":
        task.serving = {name: asked.pop(name) for name in SERVING if name in asked}
    readers = {
        "backoff_limit": _read_retries,
        "retries": _read_retries,
        "timeout": _read_timeout,
        "envs": _read_envs,
        "secrets": _read_secrets,
        "resources": _read_resources,
        "volumes": _read_volumes,
        "replicas": _read_replicas,
        "instructions": _read_instructions,
    }
    unknown = sorted(asked.keys() - readers.keys())
    if unknown:
        known = ", ".join(sorted({*readers, *NO_EFFECT}))
        raise TypeError(f"run() has no parameter {', '.join(unknown)}; the parameters of a task are {known}")
    limit, retries = asked.get("backoff_limit"), asked.get("retries")
    if limit is not None and retries is not None and limit != retries:
        raise ValueError(
            f"backoff_limit and retries are two names of one number, not {limit!r} and {retries!r}"
        )
    for name, value in asked.items():
        readers[name](task, name, value, warnings)
    for name, only in (("replicas", "serve"), ("instructions", "build")):
        if name in asked and action != only:
            warnings.append(f"{name} has no effect for the action {action}: it is {only}'s")
    return task, warnings


def _read_retries(task: Task, name: str, value: Any, _: list[str]) -> None:
    if type(value) is not int or not 0 <= value <= _MOST_RETRIES:
        raise ValueError(f"{name} is a number of retries, 0 to {_MOST_RETRIES}, not {value!r}")
    task.retries = value


def _read_timeout(task: Task, name: str, value: Any, _: list[str]) -> None:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is a number of seconds, above 0, not {value!r}")
    task.timeout = value


def _read_envs(task: Task, name: str, value: Any, _: list[str]) -> None:
    if isinstance(value, (str, bytes, dict)) or len(value) > _MOST_ENVS:
        raise TypeError(f'{name} are a list of at most {_MOST_ENVS}: [{{"name": "LEVEL", "value": "debug"}}]')
    for each in value:
        if not isinstance(each, dict) or each.keys() != {"name", "value"}:
            raise TypeError(f'{name} are a list of {{"name": ..., "value": ...}}, not of {each!r}')
        if not _is_env(each["name"]) or "=" in each["name"]:
            raise ValueError(f"{name}: {each['name']!r} is no name of an environment variable")
        if not _is_env(each["value"], may_be_empty=True):
            raise TypeError(
                f"{name}: the value of {each['name']} is a text without NUL, not a {type(each['value']).__name__}"
            )
        task.envs.append((each["name"], each["value"]))


def _is_env(value: Any, may_be_empty: bool = False) -> bool:
    return isinstance(value, str) and "\0" not in value and (may_be_empty or bool(value))


def _read_secrets(task: Task, name: str, value: Any, _: list[str]) -> None:
    if isinstance(value, (str, bytes, dict)):
        raise TypeError(f'{name} are a list of names: ["TOKEN"]')
    for each in value:
        if not isinstance(each, str) or not _SECRET.match(each) or each in (".", ".."):
            raise ValueError(
                f"{name}: {each!r} is no name of a file: letters, digits, _ . - and at most 128 of them"
            )
        task.secrets.append(each)


def _read_resources(task: Task, name: str, value: Any, warnings: list[str]) -> None:
    if not isinstance(value, dict):
        raise TypeError(f'{name} are a dict: {{"cpu": "1", "mem": "512Mi"}}')
    for each, said in value.items():
        limit = said.get("limits") if isinstance(said, dict) else said
        if each not in ("cpu", "mem"):
            warnings.append(f"{name}: {each} has no effect here; there are cpu and mem")
        elif limit is not None:
            number = _quantity(f"{name}: {each}", limit)
            if each == "cpu":
                task.cpus = number
            elif number < _LEAST_MEMORY:
                raise ValueError(f"{name}: mem is a number of bytes, at least 1 MiB, not {limit!r}")
            else:
                task.memory_bytes = int(number)


def _quantity(name: str, value: Any) -> float:
    """A number as Kubernetes writes it: 2, 0.5, "500m", "512Mi", "1G"."""
    if type(value) in (int, float) and 0 < value < math.inf:
        return float(value)
    found = _QUANTITY.match(value) if isinstance(value, str) else None
    if found is not None and found[2] in _UNITS and float(found[1]) > 0:
        return float(found[1]) * _UNITS[found[2]]
    raise ValueError(f'{name} is a quantity as "500m", "2", "512Mi", "1G", not {value!r}')


def _read_volumes(task: Task, name: str, value: Any, warnings: list[str]) -> None:
    if isinstance(value, (str, bytes, dict)):
        raise TypeError(f'{name} are a list: [{{"name": "data", "mount_path": "/data"}}]')
    for each in value:
        if (
            not isinstance(each, dict)
            or not isinstance(each.get("name"), str)
            or not isinstance(each.get("mount_path"), str)
        ):
            raise TypeError(f'{name} are a list of {{"name": ..., "mount_path": ...}}, not of {each!r}')
        if not os.path.isabs(each["mount_path"]):
            raise ValueError(f"{name}: mount_path is an absolute path, not {each['mount_path']!r}")
        kind = each.get("volume_type")
        if kind in _NO_VOLUMES:
            warnings.append(
                f"{name}: {each['name']} has no effect here: a {kind} is the cluster's; see secrets and envs"
            )
            continue
        task.volumes.append(dict(each))
    if task.volumes:
        warnings.append(NO_BOX)


def _read_replicas(task: Task, name: str, value: Any, _: list[str]) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is a number, at least 1, not {value!r}")
    task.replicas = value


def _read_instructions(task: Task, name: str, value: Any, _: list[str]) -> None:
    if isinstance(value, (str, bytes, dict)) or not all(isinstance(each, str) for each in value):
        raise TypeError(f'{name} are a list of texts: ["apt-get install -y git"]')
    task.instructions = list(value)
