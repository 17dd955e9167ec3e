"""What browsers are told: each row once, as it is now, whatever came between."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from erl.serving.page_board import TABLES, Board


def view(head: int = 0, **tables: dict[str, Any]) -> dict[str, Any]:
    rows = {table: list(tables.get(table, {}).items()) for table in TABLES}
    return {"node": {"memory_bytes": head}, "counts": {"states": {}}, **rows}


class Browser:
    """What the page's script keeps."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
        self.head: Any = None
        self.told = 0

    def ask(self, board: Board) -> None:
        text = board.changes(self.version)
        assert "\n" not in text
        assert "\r" not in text
        news = json.loads(text)
        self.told += 1
        for table in TABLES:
            if news["full"]:
                self.rows[table] = {}
            for id_ in news.get("gone", {}).get(table, []):
                self.rows[table].pop(id_, None)  # it may have come and gone unseen
            self.rows[table].update(news["rows"].get(table, {}))
        self.head = news.get("head", self.head)
        self.version = news["version"]

    def has(self, seen: dict[str, Any]) -> bool:
        tables = {table: dict(seen[table]) for table in TABLES}
        return self.rows == tables and self.head == {"node": seen["node"], "counts": seen["counts"]}


def test_a_new_browser_is_told_everything() -> None:
    board, browser, seen = Board(), Browser(), view(1, runs={"a": {"state": "RUNNING"}})
    assert board.update(seen)
    browser.ask(board)
    assert browser.has(seen)


def test_what_is_not_new_is_not_told() -> None:
    board = Board()
    board.update(view(1, runs={"a": {"n": 1}, "b": {"n": 1}}))
    assert not board.update(view(1, runs={"a": {"n": 1}, "b": {"n": 1}}))
    version = board.version
    assert board.update(view(1, runs={"a": {"n": 2}, "b": {"n": 1}}))
    news = json.loads(board.changes(version))
    assert (news["full"], news["rows"], "head" in news) == (False, {"runs": {"a": {"n": 2}}}, False)


def test_a_row_that_came_and_went_is_neither_told_nor_gone() -> None:
    board, browser = Board(), Browser()
    board.update(view(runs={"a": {}}))
    browser.ask(board)
    board.update(view(runs={}))
    board.update(view(runs={"a": {"again": True}}))
    browser.ask(board)
    assert browser.rows["runs"] == {"a": {"again": True}}


def test_a_browser_that_was_away_for_long_is_told_everything() -> None:
    board, browser = Board(), Browser()
    board.update(view(runs={"first": {}}))
    browser.ask(board)
    for number in range(5_000):
        board.update(view(runs={f"run {number}": {}}))
    assert json.loads(board.changes(browser.version))["full"]
    browser.ask(board)
    assert browser.rows["runs"] == {"run 4999": {}}


def test_texts_are_told_as_they_are_in_one_line() -> None:
    board, browser = Board(), Browser()
    seen = view(runs={"a": {"message": "</script>\r\n\n\u2028event: view\ndata: {}\n\n\x00\ud800"}})
    board.update(seen)
    browser.ask(board)
    assert browser.has(seen)


def test_a_flood_keeps_no_more_than_the_last_view() -> None:
    board = Board()
    rows = {f"run {number}": {"n": 0} for number in range(200)}
    for number in range(300):
        board.update(view(number, runs={id_: {"n": number} for id_ in rows}))
    assert len(board.changes(0)) < 10_000
    assert len(board._said) <= 1


VIEWS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6).map(
        lambda rows: {id_: {"n": n} for id_, n in rows.items()}
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100)
@given(VIEWS, st.lists(st.booleans(), min_size=12, max_size=12))
def test_whenever_a_browser_asks_it_has_what_there_is(views: list[dict[str, Any]], asks: list[bool]) -> None:
    board, always, sometimes = Board(), Browser(), Browser()
    for rows, is_asked in zip(views, asks, strict=False):
        seen = view(runs=rows, workers=rows)
        board.update(seen)
        always.ask(board)
        assert always.has(seen)
        if is_asked:
            sometimes.ask(board)
            assert sometimes.has(seen)
