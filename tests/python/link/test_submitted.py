"""What a submitted script is run by: it is what `python script.py` would have, and says whose packages it met."""

from __future__ import annotations

import compileall
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from erl.link import submit_command


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the command does, without a node."""
    program = [sys.executable, submit_command._RUNS_IT, str(script), *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


def plain(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(script), *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.mark.parametrize(
    "text",
    [
        "import sys; print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__, __cached__, __doc__)",
        "'a doc'\nimport sys, __main__\nprint(__doc__, __main__.__dict__ is globals(), __builtins__)",
        "import inspect\ndef f(): return 1\nprint(inspect.getsource(f), type(__loader__).__name__)",
        "# -*- coding: latin-1 -*-\nprint('\\xe9', len('é'))",
        "def f(x: tea = 1): pass\n",
        "def f():\n    raise ValueError('boom')\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('boom') from error",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('tea')",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "print(1\n",
        "import atexit, threading, time\natexit.register(print, 'last')\n"
        "def later():\n    time.sleep(0.05); print(name)\nname = 'tea'\nthreading.Thread(target=later).start()",
        "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))) is C)",
        "import multiprocessing\ndef f(): print('in a child')\n"
        "if __name__ == '__main__':\n    p = multiprocessing.get_context('spawn').Process(target=f)\n"
        "    p.start(); p.join()",
        "import sys; sys.stdout.write('no end'); sys.stderr.write('of line')",
        "",
    ],
)
def test_script_is_what_it_is_without_us(script: Path, text: str) -> None:
    script.write_text(text, encoding="utf-8")
    with_us, without = run(script, "green", "tea"), plain(script, "green", "tea")
    assert (with_us.returncode, with_us.stdout) == (without.returncode, without.stdout)
    assert with_us.stderr == without.stderr


def test_compiled_scripts_and_archives_run_too(tmp_path: Path, script: Path) -> None:
    script.write_text("import sys; print(sys.argv[1:], __name__)")
    assert compileall.compile_file(str(script), quiet=1, legacy=True)
    assert run(script.with_suffix(".pyc"), "tea").stdout == "['tea'] __main__\n"
    with zipfile.ZipFile(tmp_path / "work.pyz", "w") as opened:
        opened.writestr("__main__.py", "import sys, own; print(sys.argv[1:], own.name)")
        opened.writestr("own.py", "name = __name__")
    assert run(tmp_path / "work.pyz", "tea").stdout == "['tea'] own\n"


def test_it_says_once_which_package_it_met(tmp_path: Path, script: Path) -> None:
    script.write_text("import twister2\nimport importlib.util; importlib.util.find_spec('twister2')")
    met = run(script)
    assert met.returncode == 0
    assert met.stderr.startswith("erl submit: twister2 is the one of erl, on the node at")
    assert met.stderr.count("\n") == 1
    (tmp_path / "twister2.py").write_text("")
    assert run(script).stderr == (
        f"erl submit: twister2 is {tmp_path / 'twister2.py'}, which has nothing of the node\n"
    )


def test_who_does_not_ask_is_told_nothing(script: Path) -> None:
    script.write_text("import json\ntry: import nobody_has_this\nexcept ImportError: print('none')")
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "none\n", "")


def test_functions_of_a_zips_modules_reach_the_workers(tmp_path: Path) -> None:
    archive = tmp_path / "work.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(
            "main.py",
            "import sys\nfrom erl.futures import PoolExecutor\nfrom parts import squares\nimport plain\n"
            "with PoolExecutor() as executor:\n"
            "    print(sys.argv[1:], sys.argv[0].endswith('main.py'))\n"
            "    print(executor.submit(squares.square, 7).result(), executor.submit(plain.name).result())\n",
        )
        opened.writestr("parts/__init__.py", "")
        opened.writestr(
            "parts/squares.py", "from parts.below import times\ndef square(x): return times(x, x)"
        )
        opened.writestr("parts/below.py", "def times(x, y): return x * y")
        opened.writestr("plain.py", "def name(): return __name__")
    command = [
        sys.executable,
        "-m",
        "erl",
        "submit",
        "standalone",
        "python_zip",
        archive,
        "main.py",
        "green",
        "tea",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['green', 'tea'] True\n49 plain\n", "")


def test_pools_of_a_scripts_own_run_its_interpreter_with_its_path(tmp_path: Path) -> None:
    """As those of its node do: not whatever Python the machine has, nor as many threads as there are processors."""
    script = tmp_path / "script.py"
    (tmp_path / "beside.py").write_text("")
    script.write_text(
        "import sys\nfrom erl.futures import PoolExecutor\n\n"
        "def told():\n    import os, beside\n    return sys.executable, os.environ['OMP_NUM_THREADS']\n\n"
        "with PoolExecutor(1) as own, PoolExecutor() as common:\n"
        "    print(own.submit(told).result() == common.submit(told).result() == (sys.executable, '1'))\n"
    )
    command = [sys.executable, "-m", "erl", "submit", "python", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
