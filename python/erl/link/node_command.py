"""`python -m erl node`: a node that outlives the programs that join it, in the foreground; its status, its stop."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading

from erl import errors
from erl.link import nodes, paths, sizes
from erl.link.channel import connected
from erl.link.child import Child
from erl.link.conversation import Link
from erl.link.prints import text_of
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_DRAIN_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
_END_SECONDS: Final = 30.0


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    asked = _parsed(arguments)
    try:
        path = _path(asked)
        if asked.what == "status":
            return _status(path, asked.json)
        if asked.what == "stop":
            return _stop(path)
        return _serve(path, asked)
    except errors.NodeError as error:
        print(f"erl node: {error}", file=sys.stderr)
        return 1


def _parsed(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m erl node",
        description="Serve pools of workers to Python programs of this user, which join by erl.connect(), until it is "
        "ended (SIGTERM, SIGINT, or `node stop`).",
    )
    parser.add_argument(
        "what", nargs="?", choices=("status", "stop"), help="ask the node that runs, or end it, instead"
    )
    parser.add_argument("--connect", metavar="PATH", help="the node's socket (default: this user's)")
    parser.add_argument(
        "--state-dir", metavar="DIRECTORY", help="where the node's socket is, and what outlives it"
    )
    parser.add_argument("--pools", metavar="FILE", help='JSON, or TOML: {"default": {"size": 4}}')
    parser.add_argument(
        "--page", action="store_true", help="serve a page that shows what the node does; its URL is printed"
    )
    parser.add_argument("--page-port", type=int, default=0, metavar="PORT", help="at this port (a free one)")
    parser.add_argument("--page-ip", default="127.0.0.1", metavar="IP", help="at this address (127.0.0.1)")
    parser.add_argument(
        "--page-host", action="append", default=[], metavar="NAME", help="a name that browsers call it by"
    )
    parser.add_argument("--json", action="store_true", help="the status as JSON")
    return parser.parse_args(arguments)


def _path(asked: Any) -> str:
    if asked.connect is not None:
        return paths.short(asked.connect)
    if asked.state_dir is not None:
        return paths.short(os.path.join(asked.state_dir, "node.sock"))
    return paths.default()


def _pools(file: str | None) -> dict[str, dict[str, Any]]:
    """The pools of a file. Raises `errors.NodeError` for one that has none."""
    if file is None:
        return {"default": {"size": sizes.processors()}}
    try:
        with open(file, "rb") as opened:
            data = opened.read()
        if file.endswith(".toml"):
            import importlib

            pools: Any = importlib.import_module("tomllib").loads(data.decode())
        else:
            pools = json.loads(data)
    except ImportError:
        raise errors.NodeError(f"{file}: TOML takes Python 3.11 or later; write it as JSON") from None
    except (OSError, ValueError) as error:
        raise errors.NodeError(f"{file}: {error}") from None
    if not isinstance(pools, dict) or not all(isinstance(options, dict) for options in pools.values()):
        raise errors.NodeError(f'{file}: pools are names and options: {{"default": {{"size": 4}}}}')
    return pools


# The node


def _serve(path: str, asked: Any) -> int:
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    # Who joins has a path and modules of its own: the workers have this interpreter's, and no more.
    pools = {Atom(name): nodes.options(given, []) for name, given in _pools(asked.pools).items()}
    env = {} if asked.state_dir is None else {Atom("state_dir"): os.path.abspath(asked.state_dir)}
    settings: dict[str, object] = {"parent": os.getpid(), "path": path, "pools": pools, "env": env}
    if asked.page:
        page = {
            "port": asked.page_port,
            "ip": asked.page_ip,
            "hosts": asked.page_host,
            "python": sys.executable,
        }
        settings["page"] = {Atom(key): value for key, value in page.items()}
    child = Child(settings)
    try:
        if asked.page:
            print(f"the page: {os.fsdecode(child.info['page'])}", flush=True)
        path = os.fsdecode(child.info.get("path", path))
        link = Link(connected(path, _ANSWER_SECONDS), role="observer", log=True)
        logging.getLogger("erl.node").info("the node (os pid %d) serves at %s", child.os_pid, path)
        _notify("READY=1")
        while not ended.wait(0.2):
            if link.down is not None:
                break
        _notify("STOPPING=1")
        if ended.is_set():
            child.stop(_DRAIN_SECONDS)
            return 0
        # Somebody has stopped it, or it has died.
        status = child.ended()
    finally:
        child.kill()
    if status.startswith(" (exit status 0)"):
        return 0
    print(f"erl node: the node is gone{status}", file=sys.stderr)
    return 1


def _notify(state: str) -> None:
    """Tell systemd, where it has started this (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notified:
            notified.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return


# One that runs


def _joined(path: str, role: str) -> Link:
    paths.check(path)
    return Link(connected(path, _ANSWER_SECONDS), role=role)


def _status(path: str, as_json: bool) -> int:
    link = _joined(path, "observer")
    try:
        status = _spelled(link.answer(link.request("status"), _ANSWER_SECONDS))
    finally:
        link.close("the status was told")
    if as_json:
        print(json.dumps(status, indent=2))
        return 0
    print(
        f"node {status['node']}, os pid {status['os_pid']}, py {status['version']}, OTP {status['otp']}, "
        f"up {status['uptime_ms'] // 1000} s, {status['connections']} connected\nsocket {path}"
    )
    for name, pool in status["pools"].items():
        print(f"pool {name}: {pool['size']} workers")
        for worker in pool["workers"]:
            print(
                f"    os pid {worker['os_pid']}  {worker['state']}  calls {worker['calls']}"
                f"  in hand {worker['in_flight']}  restarts {worker['restarts']}"
            )
    return 0


def _spelled(value: Any) -> Any:
    """What the node says, as JSON has it."""
    if isinstance(value, dict):
        return {text_of(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return text_of(value) if isinstance(value, (bytes, str)) else repr(value)


def _stop(path: str) -> int:
    link = _joined(path, "driver")
    try:
        link.answer(link.request("stop"), _ANSWER_SECONDS)
        if not link.ended.wait(_END_SECONDS):
            print("erl node: the node has not ended yet", file=sys.stderr)
            return 1
    finally:
        link.close("the node was stopped")
    return 0
