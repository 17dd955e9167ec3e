"""An Erlang that has the applications of Debian's erlang-base and erlang-crypto alone, and one that has less.

What the application does not say that it needs is hidden: a root of links, in which the other applications are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erl.link import child

pytestmark = pytest.mark.skipif(shutil.which("erl") is None, reason="Erlang is not on PATH")

NEEDED = ("kernel", "stdlib", "crypto")
PROGRAM = """
import os, sys, time
import erl
from erl.futures import PoolExecutor, TaskTimeoutError, WorkerLostError

def fails():
    raise ValueError("tea")

def main():
    try:
        node = erl.start({"default": {"size": 2}})
    except erl.errors.NodeError as error:
        return print(error)
    with PoolExecutor() as executor:
        assert executor.submit(lambda: 1).result(60) == 1
        assert list(executor.map(abs, range(-1000, 0))) == list(range(1000, 0, -1))
        assert executor.submit(bytes, bytearray(1_000_000)).result(60) == bytes(1_000_000)
        assert type(executor.submit(fails).exception(60)) is ValueError
        assert type(executor.submit(os._exit, 3).exception(60)) is WorkerLostError
        assert type(node.executor(timeout=0.2).submit(time.sleep, 60).exception(60)) is TaskTimeoutError
    with PoolExecutor(1, initializer=abs, initargs=(1,)) as executor:
        assert executor.submit("erl.here").exception(60) is not None  # a node can't be pickled
    assert node.call("py", "func", [erl.Atom("math"), erl.Atom("sqrt"), [4]]) == 2
    try:
        node.call("erlang", "error", [erl.Atom("tea")])
    except erl.errors.ErlangError as error:
        str(error)
    status = node.status()
    assert status["pools"]["default"]["size"] == 2
    node.call("py", "stats", [erl.Atom("default")])
    node.call("logger", "error", [list(b"tea")])
    print(bytes(node.call("code", "root_dir", [])).decode())
    started = node.call("application", "which_applications", [])
    print(*sorted(str(name) for name, _, _ in started))
    node.stop()

if __name__ == "__main__":
    main()
"""


def root_of(directory: Path, applications: tuple[str, ...]) -> Path:
    """A directory in which Erlang finds these applications."""
    ask = "io:put_chars(code:root_dir()), halt()."
    real = Path(subprocess.check_output(["erl", "-noinput", "-boot", "start_clean", "-eval", ask], text=True))
    root = directory / "erlang"
    (root / "bin").mkdir(parents=True)
    (root / "lib").mkdir()
    for erts in real.glob("erts-*"):
        (root / erts.name).symlink_to(erts)
    if (real / "releases").is_dir():
        (root / "releases").symlink_to(real / "releases")
    for file in (real / "bin").iterdir():
        if file.suffix == ".boot":
            (root / "bin" / file.name).symlink_to(file)
    (root / "bin" / "erl").write_text(
        f"#!/bin/sh\nROOTDIR={root}\nBINDIR=$(echo $ROOTDIR/erts-*/bin)\nEMU=beam\nPROGNAME=erl\n"
        'export ROOTDIR BINDIR EMU PROGNAME\nexec "$BINDIR/erlexec" "$@"\n'
    )
    (root / "bin" / "erl").chmod(0o755)
    for name in applications:
        for found in (real / "lib").glob(f"{name}-*"):
            (root / "lib" / found.name).symlink_to(found)
    return root


def said(directory: Path, root: Path) -> list[str]:
    program = directory / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}", "ERL_LIBS": "/nowhere"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kernel_stdlib_and_crypto_are_enough(tmp_path: Path) -> None:
    root = root_of(tmp_path, NEEDED)
    assert said(tmp_path, root) == [str(root), "crypto kernel py stdlib"]


def test_an_erlang_without_crypto_is_told(tmp_path: Path) -> None:
    root = root_of(tmp_path, ("kernel", "stdlib"))
    assert said(tmp_path, root) == [
        "the node has not started: its Erlang has no crypto: install that application "
        "(Debian, Ubuntu: apt-get install erlang-crypto)"
    ]


IMPORTS = """
Files = filelib:wildcard(filename:join(Ebin, "*.beam")),
Own = [list_to_atom(filename:basename(File, ".beam")) || File <- Files],
Called = [M || File <- Files, {ok, {_, [{imports, All}]}} <- [beam_lib:chunks(File, [imports])], {M, _, _} <- All],
Application = fun(Module) ->
    case code:which(Module) of
        preloaded -> "erts";
        Path when is_list(Path) -> hd(string:split(filename:basename(filename:dirname(filename:dirname(Path))), "-"));
        _ -> atom_to_list(Module)
    end
end,
io:put_chars(lists:join(" ", lists:usort([Application(M) || M <- lists:usort(Called) -- Own]))),
halt().
"""


def test_modules_call_nothing_of_other_applications() -> None:
    program = f'Ebin = "{child._code()}", {IMPORTS}'
    arguments = ["erl", "-noinput", "-boot", "start_clean", "-eval", program]
    found = set(subprocess.check_output(arguments, text=True, cwd="/tmp").split())
    # The compiler's is for code that a program in Erlang sends to other nodes, telemetry is asked for, and LFE's
    # shell is begun where there is an LFE.
    assert found - {"compiler", "telemetry", "lfe_shell"} == {"erts", *NEEDED}
