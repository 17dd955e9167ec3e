"""Sources in a worker: each is modules of its own, which find one another and nobody else's."""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from erl import errors
from erl.functions import loading, sources


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = builtins.__import__
    yield
    builtins.__import__ = before
    for name in [each for each in sys.modules if loading.is_of_source(each)]:
        del sys.modules[name]


class Source:
    """A folder with these modules; `pkg__sub` is in a folder `pkg`, `pkg__` what makes that one a package."""

    def __init__(self, place: Path, **files: str) -> None:
        place.mkdir()
        for name, text in files.items():
            folder, _, module = name.rpartition("__")
            path = place / folder / f"{module or '__init__'}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.directory = str(place)
        self.hash = sources.hash_of(self.directory)

    def load(self, handler: str) -> object:
        return loading.load(self.directory, self.hash, handler)


def test_functions_of_one_name_never_meet(tmp_path: Path) -> None:
    one = Source(
        tmp_path / "one",
        main="import other\nkept = []\ndef main(): kept.append(1); return other.who, len(kept)\n",
        other="who = 'one'\n",
    )
    two = Source(
        tmp_path / "two",
        main="import other\nkept = []\ndef main(): kept.append(1); return other.who, len(kept)\n",
        other="who = 'two'\n",
    )
    first, second = one.load("main"), two.load("main")
    assert [first(), second(), first()] == [("one", 1), ("two", 1), ("one", 2)]  # type: ignore[operator]
    # The same source once more is the same modules, wherever it lies.
    assert one.load("main") is first
    again = Source(
        tmp_path / "again",
        main="import other\nkept = []\ndef main(): kept.append(1); return other.who, len(kept)\n",
        other="who = 'one'\n",
    )
    assert again.hash == one.hash
    assert again.load("main:main") is first
    assert "main" not in sys.modules
    assert "other" not in sys.modules


def test_a_source_finds_its_packages_in_every_way_of_importing(tmp_path: Path) -> None:
    source = Source(
        tmp_path / "source",
        main=(
            "import pkg\nimport pkg.sub\nimport pkg.sub as sub\nfrom pkg import sub as again\n"
            "from pkg.sub import name\nfrom . import beside\nfrom bare.mod import deep\nimport json\n"
            "import os.path as path\n"
            "def f():\n    import late\n    return [pkg.sub.name, sub.name, again.name, name, beside.b, deep, late.l,\n"
            "            json.dumps(1), path.basename('a/b')]\n"
        ),
        pkg__="where = __name__\n",
        pkg__sub="from . import where\nfrom pkg import where as same\nimport top\nname = top.t\nassert where is same\n",
        top="t = 'top'\n",
        beside="b = 'beside'\n",
        late="l = 'late'\n",
        bare__mod="deep = 'deep'\n",
        json="",
    )
    found = source.load("f")
    # A module of the source goes before one of the library, for the source alone.
    with pytest.raises(AttributeError, match="dumps"):
        found()  # type: ignore[operator]
    (Path(source.directory) / "json.py").unlink()
    source.hash = sha256(b"another").hexdigest()
    result = source.load("main:f")()  # type: ignore[operator]
    assert result == ["top", "top", "top", "top", "beside", "deep", "late", "1", "b"]
    import json

    assert json.dumps(1) == "1"
    assert source.load("pkg.sub:top.t.upper")() == "TOP"  # type: ignore[operator]


def test_tracebacks_have_the_source_lines(tmp_path: Path) -> None:
    source = Source(tmp_path / "source", main="def f(x):\n    return 1 / x  # here\n")
    with pytest.raises(ZeroDivisionError) as raised:
        source.load("f")(0)  # type: ignore[operator]
    assert "return 1 / x  # here" in "".join(traceback.format_exception(raised.value))


def test_nothing_is_written_beside_a_source(tmp_path: Path) -> None:
    source = Source(tmp_path / "source", main="import other\ndef f(): pass\n", other="")
    source.load("f")
    assert sorted(path.name for path in Path(source.directory).rglob("*")) == ["main.py", "other.py"]


@pytest.mark.parametrize(
    ("text", "handler", "said"),
    [
        ("def found(): pass\n", "fund", "is found meant"),
        ("f = 7\n", "f", "nothing that can be called"),
        ("def f(): pass\n", "other:f", "no module other"),
        ("def f(): pass\n", "main.sub:f", "no module main.sub"),
    ],
)
def test_what_a_handler_does_not_find_is_said(tmp_path: Path, text: str, handler: str, said: str) -> None:
    with pytest.raises(errors.EntityError, match=said):
        Source(tmp_path / "source", main=text).load(handler)


def test_what_a_module_raises_is_its_own_and_the_next_import_begins_anew(tmp_path: Path) -> None:
    source = Source(tmp_path / "source", main="import no_such_module\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            source.load("f")
    broken = Source(tmp_path / "broken", main="def f(:\n")
    with pytest.raises(SyntaxError) as raised:
        broken.load("f")
    assert raised.value.filename == str(tmp_path / "broken" / "main.py")


def test_a_source_that_was_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(errors.EntityError, match="not there any more"):
        loading.load(str(tmp_path / "gone"), "0" * 64, "f")
    for hash_ in ("", "../x", "a.b", "é"):
        with pytest.raises(errors.EntityError, match="no hash"):
            loading.load(str(tmp_path), hash_, "f")
