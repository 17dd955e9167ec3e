"""The Python halves of the examples: words are counted once however a file is cut, numbers are spelled."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wordcount = example("wordcount")


def counted_in_blocks(directory: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setattr(wordcount, "BLOCK_BYTES", block_bytes)
    total: Counter[str] = Counter()
    for block in wordcount.blocks(bytes(directory)):
        total.update(wordcount.count(block)[2])
    return total


@given(
    text=st.text(st.sampled_from("aé\u2019'ß🙂 \n\t-."), max_size=40).map(str.encode),
    block_bytes=st.integers(1, 20),
)
def test_any_cut_into_blocks_counts_each_word_once(
    text: bytes, block_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("texts")
    (directory / "text.txt").write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        blocks = counted_in_blocks(directory, block_bytes, patch)
        whole = counted_in_blocks(directory, 1 << 20, patch)
    assert blocks == whole


def test_a_word_longer_than_many_blocks_is_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.txt").write_text("before " + "x" * 20_000 + " after", encoding="utf-8")
    assert counted_in_blocks(tmp_path, 100, monkeypatch) == {"before": 1, "x" * 20_000: 1, "after": 1}


def test_words_are_letters_with_apostrophes_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.txt").write_text("'Don\u2019t' stop_it, 42 times: ÉTÉ-été", encoding="utf-8")
    expected = {"don\u2019t": 1, "stop": 1, "it": 1, "times": 1, "été": 2}
    assert counted_in_blocks(tmp_path, 1 << 20, monkeypatch) == expected


def test_hidden_files_and_empty_ones_are_not_read(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    for name in (".hidden/file", ".file", "empty", "sub"):
        path = tmp_path / name
        if name == "sub":
            path.mkdir()
        else:
            path.write_text("" if name == "empty" else "word", encoding="utf-8")
    (tmp_path / "sub" / "file").write_text("word", encoding="utf-8")
    assert wordcount.blocks(bytes(tmp_path)) == [(bytes(tmp_path / "sub" / "file"), 0, 4)]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty-two"),
        (100, "one hundred"),
        (999, "nine hundred ninety-nine"),
        (1000, "one thousand"),
        (20_015, "twenty thousand fifteen"),
        (499_110, "four hundred ninety-nine thousand one hundred ten"),
    ],
)
def test_numbers_are_spelled(number: int, words: str) -> None:
    assert wordcount.spelled(number) == words
