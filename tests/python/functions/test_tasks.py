"""The parameters of tasks: what they may be, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest

from erl.functions import tasks


def checked(action: str = "job", **given: Any) -> tasks.Task:
    task, warnings = tasks.checked(action, given)
    assert warnings == []
    return task


def test_all_of_them() -> None:
    task = checked(
        backoff_limit=3,
        timeout=1.5,
        envs=[{"name": "A", "value": "1"}],
        secrets=["TOKEN"],
        resources={"cpu": "500m", "mem": "512Mi"},
    )
    assert (task.retries, task.timeout, task.envs, task.secrets) == (3, 1.5, [("A", "1")], ["TOKEN"])
    assert (task.cpus, task.memory_bytes) == (0.5, 512 << 20)
    task, (warning,) = tasks.checked("job", {"volumes": [{"name": "data", "mount_path": "/data"}]})
    assert task.volumes == [{"name": "data", "mount_path": "/data"}]
    assert warning.startswith("volumes have no effect")
    assert checked(retries=3).retries == checked(backoff_limit=3, retries=3).retries == 3


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        ({"cpu": 2}, (2.0, None)),
        ({"cpu": {"requests": "1", "limits": "2"}}, (2.0, None)),
        ({"mem": {"requests": "64Mi"}}, (None, None)),
        ({"mem": "1G"}, (None, 10**9)),
        ({"mem": "1Gi"}, (None, 1 << 30)),
        ({"mem": 1 << 21}, (None, 1 << 21)),
        ({"mem": "1e9"}, (None, 10**9)),
        ({}, (None, None)),
    ],
)
def test_quantities_are_as_kubernetes_writes_them(resources: Any, found: Any) -> None:
    task = checked(resources=resources)
    assert (task.cpus, task.memory_bytes) == found


@pytest.mark.parametrize("name", ["node_selector", "affinity", "tolerations", "profile", "service_type"])
def test_what_a_cluster_would_read_has_no_effect(name: str) -> None:
    _, (warning,) = tasks.checked("job", {name: "x"})
    assert warning.startswith(f"{name} has no effect here")
    assert tasks.checked("job", {name: None})[1] == []


def test_what_is_another_action_s_has_no_effect() -> None:
    assert "is serve's" in tasks.checked("job", {"replicas": 2})[1][0]
    assert "is build's" in tasks.checked("job", {"instructions": ["x"]})[1][0]
    assert checked("serve", replicas=2).replicas == 2
    assert "gpu has no effect" in tasks.checked("job", {"resources": {"gpu": 1}})[1][0]


@pytest.mark.parametrize(
    "given",
    [
        {"retry": 3},
        {"backoff_limit": -1},
        {"backoff_limit": True},
        {"retries": 1001},
        {"backoff_limit": 1, "retries": 2},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": "1"},
        {"envs": {"A": "1"}},
        {"envs": [{"name": "A"}]},
        {"envs": [{"name": "A=B", "value": "1"}]},
        {"envs": [{"name": "A", "value": 1}]},
        {"envs": [{"name": "A", "value": "\0"}]},
        {"secrets": "TOKEN"},
        {"secrets": ["../x"]},
        {"secrets": [".."]},
        {"resources": "1"},
        {"resources": {"cpu": "x"}},
        {"resources": {"cpu": 0}},
        {"resources": {"mem": 5}},
        {"resources": {"mem": "1Xi"}},
        {"volumes": [{"name": "a"}]},
        {"volumes": [{"name": "a", "mount_path": "data"}]},
        {"replicas": 0},
        {"instructions": "x"},
    ],
)
def test_what_can_t_be_is_refused_with_its_name(given: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="|".join(given)):
        tasks.checked("job", given)
