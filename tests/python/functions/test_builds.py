"""Environments of functions: built by a run, and what jobs have of them."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

import pytest
from running import ended, function
from wheels import write_tealeaf

from erl import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
import sys

def where():
    return sys.prefix

def brewed():
    import tealeaf
    return [tealeaf.STRENGTH, sys.prefix]
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one wheel, as the "binary distribution format" has it."""
    directory = tmp_path_factory.mktemp("wheels")
    write_tealeaf(directory)
    return directory


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Path]:
    """That of the node, which inherits where packages come from."""
    with pytest.MonkeyPatch.context() as patched:
        for switch in ("UV_OFFLINE", "PIP_NO_INDEX"):
            patched.setenv(switch, "1")
        for tool in ("UV", "PIP"):
            patched.setenv(f"{tool}_FIND_LINKS", str(wheels))
        yield tmp_path_factory.mktemp("state")


def states(run: Any) -> list[str]:
    return [each["status"] for each in run.status.transitions]


def test_a_build_says_what_is_in_the_environment_and_a_job_runs_there(project: Any) -> None:
    brewed = function(project, "brewed", SOURCE, requirements=["tealeaf>=1"])
    build = brewed.run("build").wait(60)
    assert states(build) == ["CREATED", "PENDING", "BUILDING", "READY", "RUNNING", "COMPLETED"]
    environment = build.result("environment")
    assert "tealeaf==1.0" in environment["packages"]
    assert build.spec.action == "build"
    job = ended(brewed)
    assert "BUILDING" not in states(job)
    assert job.result("output_0") == [3, environment["path"]]


def test_a_job_builds_its_environment_itself(project: Any) -> None:
    brewed = function(project, "brewed", SOURCE, requirements=["tealeaf==1.0"])
    assert ended(brewed).result("output_0")[0] == 3


def test_what_can_t_be_had_is_the_error_of_the_run(project: Any) -> None:
    brewed = function(project, "brewed", SOURCE, requirements=["no-such-tea"])
    for run in (brewed.run("build").wait(60), ended(brewed)):
        assert run.status.state == "ERROR"
        assert "no-such-tea" in run.status.message


def test_a_requirement_that_is_more_than_one_line_is_refused(project: Any) -> None:
    brewed = function(project, "brewed", SOURCE, requirements=["tealeaf\n--index-url=https://evil.invalid"])
    with pytest.raises(errors.EntityError, match="PEP 508"):
        brewed.run("job")


def test_instructions_are_refused_and_say_what_they_need(project: Any) -> None:
    with pytest.raises(errors.EntityError, match="Docker"):
        function(project, "where", SOURCE).run(action="build", instructions=["apt-get install -y git"])


def test_without_requirements_a_job_runs_in_the_pool_that_has_the_version(project: Any) -> None:
    own = f"PYTHON3_{sys.version_info[1]}"
    plain = ended(function(project, "where", SOURCE)).result("output_0")
    assert ended(function(project, "where", SOURCE, python_version=own)).result("output_0") == plain
    build = function(project, "where", SOURCE, python_version=own).run("build").wait(60)
    environment = build.result("environment")
    assert environment["path"] != plain
    assert environment["python_version"].split(".")[:2] == platform.python_version().split(".")[:2]
