"""`python -m erl functions`: runs of functions from the command line."""

from __future__ import annotations

import argparse
import json
import sys
import warnings

from erl import errors
from erl.functions import finding, keys, nodes, runs
from erl.link import nodes as link_nodes
from erl.link import paths

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.link.node import Node


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    asked = _parsed(arguments)
    warnings.showwarning = _warn
    try:
        node = _node(asked)
        try:
            status: int = asked.does(asked, node)
            return status
        finally:
            node.stop()
    except (errors.BridgeError, errors.ErlangError, TypeError, ValueError) as error:
        print(f"erl functions: {error}", file=sys.stderr)
        return 1


def _warn(message: Any, *_: Any, **__: Any) -> None:
    print(f"erl functions: {message}", file=sys.stderr)


def _node(asked: Any) -> Node:
    """The node that is named, or runs by default; else one is started on the directory, and ends with this program."""
    if asked.connect is not None:
        return link_nodes.connect(asked.connect)
    if asked.state_dir is not None:
        import os

        try:
            return link_nodes.connect(os.path.join(asked.state_dir, "node.sock"))
        except errors.NodeError:
            return link_nodes.start(state_dir=asked.state_dir)
    try:
        return link_nodes.connect(paths.default())
    except errors.NodeError:
        return nodes.default()


def _parsed(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m erl functions", description="Runs of stored functions.")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--connect", metavar="PATH", help="the node's socket (default: this user's node, else one is started)"
    )
    where.add_argument(
        "--state-dir", metavar="DIRECTORY", help="the directory whose node it is, or which one is started on"
    )
    where.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", parents=[where], help="begin a run of a function"))
    _add_build(commands.add_parser("build", parents=[where], help="build the environment of a function"))
    _add_runs(commands.add_parser("runs", parents=[where], help="list runs"))
    for name, does, text in (
        ("logs", _logs, "what a run has printed and logged"),
        ("stop", _stop, "have a run end"),
    ):
        command = commands.add_parser(name, parents=[where], help=text)
        command.add_argument("run", help="its key, or its id")
        command.set_defaults(does=does)
    return parser.parse_args(arguments)


def _add_run(command: Any) -> None:
    command.add_argument("function", help="its key, or PROJECT/NAME")
    command.add_argument("--action", default="job", help="job, serve or build (job)")
    command.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="JSON, else a text"
    )
    command.add_argument("-i", "--input", action="append", default=[], metavar="NAME=KEY", help="an entity")
    command.add_argument(
        "--init-parameter", action="append", default=[], metavar="NAME=VALUE", help="of the init function"
    )
    command.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="an environment variable"
    )
    command.add_argument(
        "--secret", action="append", default=[], metavar="NAME", help="a file in STATE_DIR/secrets"
    )
    command.add_argument("--retries", type=int, help="how often it is tried again")
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="of an attempt")
    command.add_argument("--cpu", help='as "500m", "2"')
    command.add_argument("--mem", help='as "512Mi", "1G"')
    command.add_argument("--pool", default="default", help="whose workers run it (default)")
    command.add_argument(
        "--wait", action="store_true", help="wait for its end: its results, and its status as this program's"
    )
    command.set_defaults(does=_run)


def _add_build(command: Any) -> None:
    command.add_argument("function", help="its key, or PROJECT/NAME")
    command.add_argument("--instruction", action="append", default=[], help="run while it is built")
    command.set_defaults(does=_build)


def _add_runs(command: Any) -> None:
    command.add_argument("--project", help="of this project")
    command.add_argument("--function", help="of the function of this name")
    command.add_argument("--state", action="append", help="in this state; may be said again")
    command.set_defaults(does=_runs)


def _function(named: str) -> Any:
    project, slash, name = named.partition("/")
    if keys.is_key(named) or not slash:
        return finding.get_function(named)
    return finding.get_function(name, project)


def _pairs(given: list[str], *, is_json: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not name or not equals:
            raise ValueError(f"{each!r} is not NAME=VALUE")
        found[name] = _value(text) if is_json else text
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _run(asked: Any, node: Node) -> int:
    resources = {name: value for name, value in (("cpu", asked.cpu), ("mem", asked.mem)) if value is not None}
    begun = _function(asked.function).run(
        asked.action,
        inputs=_pairs(asked.input, is_json=False),
        parameters=_pairs(asked.parameter, is_json=True),
        init_parameters=_pairs(asked.init_parameter, is_json=True),
        envs=[{"name": name, "value": value} for name, value in _pairs(asked.env, is_json=False).items()]
        or None,
        secrets=asked.secret or None,
        retries=asked.retries,
        timeout=asked.timeout,
        resources=resources or None,
        pool=asked.pool,
    )
    return _told(begun, asked, node)


def _build(asked: Any, node: Node) -> int:
    begun = _function(asked.function).run("build", instructions=asked.instruction or None)
    asked.wait = True
    return _told(begun, asked, node)


def _told(begun: Any, asked: Any, node: Node) -> int:
    # A node of this program ends with it.
    if not asked.wait and not node.is_own:
        print(json.dumps(begun.to_dict()) if asked.json else begun.key)
        return 0
    begun.wait()
    has_completed = begun.status.state == "COMPLETED"
    given = {"results": begun.results(), "outputs": begun.outputs(as_key=True)} if has_completed else {}
    if asked.json:
        print(json.dumps({**begun.to_dict(), **given}, default=repr))
    else:
        print(f"{begun.key} {begun.status.state}{': ' if begun.status.message else ''}{begun.status.message}")
        for each in given.values():
            for name, value in each.items():
                print(f"{name} = {value!r}")
    return 0 if has_completed else 1


def _runs(asked: Any, _: Node) -> int:
    found = runs.list_runs(asked.project, asked.function, asked.state)
    if asked.json:
        print(
            json.dumps(
                [
                    {"key": each.key, "function": each.function, "status": each.status.to_dict()}
                    for each in found
                ]
            )
        )
        return 0
    for each in found:
        status = each.status
        began = status.transitions[0]["time"] if status.transitions else ""
        print(
            "  ".join(
                (each.key, each.function, status.state, began, status.message.partition("\n")[0])
            ).rstrip()
        )
    return 0


def _logs(asked: Any, _: Node) -> int:
    log = runs.get_run(asked.run).logs()
    print(json.dumps(log) if asked.json else log, end="\n" if asked.json else "")
    return 0


def _stop(asked: Any, _: Node) -> int:
    stopped = runs.get_run(asked.run).stop()
    print(json.dumps(stopped.to_dict()) if asked.json else f"{stopped.key} {stopped.status.state}")
    return 0
