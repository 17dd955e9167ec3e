"""The page in Debian's Chromium: what a person sees there, and does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser import Browser, is_there
from page_node import REASON, Page, is_servable, served, until

from erl.terms import Atom

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(not is_servable(), reason=REASON),
    pytest.mark.skipif(not is_there(), reason="no Chromium and its driver here: scripts/setup page"),
]

EVIL = '<script>document.title="owned"</script><img src="/x" onerror="document.title=\'owned\'">'
# Whether it says "Sure?" still, after however long, or is asked anew.
PRESSED_TWICE = (
    "const stop = document.getElementById('run-stop');"
    "if (stop.textContent !== 'Sure?') stop.click(); stop.click()"
)
ROW = "[...document.querySelectorAll(arguments[0] + ' tbody tr')].find(each => each.innerText.includes(arguments[1]))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with served(
        tmp_path_factory.mktemp("page"),
        pools='{"default": {"size": 1}, "tea": {"size": 1}, "milk": {"size": 1}}',
    ) as page:
        yield page


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(started: Browser, page: Page) -> Browser:
    """At the page, from its URL."""
    started.emulate(1280, 900)
    started.go(page.url)
    started.until("document.getElementById('link')?.textContent === 'live'")
    return started


def test_the_url_lets_in_and_leaves_no_token_in_the_address(browser: Browser, page: Page) -> None:
    assert browser.url == f"{page.base}/"
    assert browser.run("return document.cookie") == ""
    browser.go(page.base)
    browser.until("document.getElementById('link')?.textContent === 'live'")
    assert browser.messages() == []


def test_a_running_call_is_seen_with_its_worker(browser: Browser, page: Page) -> None:
    run = page.run("time", "sleep", [600.25], pool=Atom("tea"), function="nap:long")
    browser.until(f"{ROW}?.innerText.includes('nap:long')", "#workers", "tea")
    assert "600.25" not in browser.run("return document.documentElement.outerHTML")
    # It is stopped by the button, which is pressed twice.
    browser.run(f"{ROW}.querySelector('button').click()", "#runs", "nap:long")
    browser.until("document.getElementById('run-stop')")
    assert (
        browser.run("const stop = document.getElementById('run-stop'); stop.click(); return stop.textContent")
        == "Sure?"
    )
    assert page.state(run) == "RUNNING"
    browser.run(PRESSED_TWICE)
    until(lambda: page.state(run) == "STOPPED")
    browser.until(f"{ROW}.innerText.includes('STOPPED')", "#runs", "nap:long")
    browser.until("!document.getElementById('run-stop')")
    browser.run("document.getElementById('run-close').click()")
    assert browser.messages() == []


def test_texts_of_runs_are_texts(browser: Browser, page: Page) -> None:
    run = page.run(
        "builtins", "exec", [f"print({EVIL!r}); raise ValueError({EVIL!r})"], function=EVIL, project=EVIL
    )
    until(lambda: page.state(run) == "ERROR")
    browser.until(ROW, "#runs", EVIL[:20])
    assert browser.run("return document.querySelectorAll('main img, main script').length") == 0
    browser.run(f"{ROW}.querySelector('button').click()", "#runs", EVIL[:20])
    browser.until("document.getElementById('run-log')?.textContent.includes('owned')")
    assert browser.run("return document.getElementById('run-title').textContent") == EVIL
    assert browser.run("return document.querySelectorAll('dialog img, dialog script').length") == 0
    assert "owned" not in browser.run("return document.title")
    browser.run("document.getElementById('run').close()")
    assert browser.messages() == []


def test_the_policy_stops_what_is_none_of_the_pages(browser: Browser) -> None:
    browser.run(
        "try { const made = document.createElement('script'); made.textContent = 'document.title = \"owned\"';"
        "document.body.append(made) } catch {}"
    )
    assert "owned" not in browser.run("return document.title")
    assert any("Content Security Policy" in each or "TrustedScript" in each for each in browser.messages())


def test_a_worker_is_restarted_by_its_button(browser: Browser) -> None:
    before = browser.until(f"{ROW}?.cells[9].textContent", "#workers", "milk")
    browser.run(
        f"const pressed = {ROW}.querySelector('.act button'); pressed.click(); pressed.click()",
        "#workers",
        "milk",
    )
    browser.until("document.getElementById('note').textContent.includes('new interpreter')")
    browser.until(
        f"{ROW}?.cells[9].textContent && {ROW}.cells[9].textContent !== arguments[2]",
        "#workers",
        "milk",
        before,
    )


def test_states_are_chosen_and_older_runs_are_found(browser: Browser, page: Page) -> None:
    for _ in range(250):
        page.run("math", "sqrt", [4], pool=Atom("nobody"), function="waits:long")
    browser.until("Number(document.querySelector('#runs [data-word=\"\"]').textContent.slice(4)) >= 250")
    browser.until("document.querySelector('#runs .about').textContent === 'The newest 200, live.'")
    browser.run("[...document.querySelectorAll('#runs .more button')][0].click()")
    browser.until("document.querySelector('#runs .about').textContent.startsWith('As they were')")
    assert 50 <= browser.run("return document.querySelectorAll('#runs tbody tr').length") < 200
    browser.run("document.querySelector('#runs [data-word=PENDING]').click()")
    browser.until("document.querySelectorAll('#runs tbody tr').length === 200")
    browser.until(
        "[...document.querySelectorAll('#runs tbody .state')].every(each => each.textContent === 'PENDING')"
    )
    browser.run("document.querySelector('#runs [data-word=\"\"]').click()")
    browser.until("document.querySelector('#runs .about').textContent === 'The newest 200, live.'")


def test_a_pool_that_is_stopped_leaves_the_page(browser: Browser, page: Page) -> None:
    page.node.call("py", "start_pool", [Atom("brief"), {Atom("size"): 1}])
    browser.until(ROW, "#pools", "brief")
    page.node.call("py", "stop_pool", [Atom("brief")])
    browser.until(f"!({ROW})", "#pools", "brief")
    browser.until(f"!({ROW})", "#workers", "brief")


@pytest.mark.parametrize(
    ("width", "height", "dark"), [(1280, 900, False), (1280, 900, True), (360, 780, False)]
)
def test_it_fits_its_window_and_can_be_read(browser: Browser, width: int, height: int, dark: bool) -> None:
    browser.emulate(width, height, dark=dark, mobile=width < 500)
    browser.until(ROW, "#workers", "default")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    # Each text against what is behind it, as WCAG 2 has it: 4.5 to 1.
    assert browser.run(CONTRAST) == []


def test_it_is_used_by_the_keyboard_and_has_names(browser: Browser) -> None:
    browser.until(ROW, "#workers", "default")
    unnamed = (
        "return [...document.querySelectorAll('button, a, [role=region], section')]"
        ".filter(each => !(each.textContent.trim() || each.ariaLabel || each.getAttribute('aria-labelledby'))).length"
    )
    assert browser.run(unnamed) == 0
    assert (
        browser.run("return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"]):not(main)').length")
        == 0
    )
    assert browser.run("return document.querySelectorAll('table').length") == browser.run(
        "return document.querySelectorAll('table > caption').length"
    )
    assert browser.run("return document.documentElement.lang") == "en"


CONTRAST = """
const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
const light = (c) => [0, 1, 2].map(i => c[i] / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const c = rgb(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const low = new Set();
for (const node of document.querySelectorAll('body *')) {
  if (![...node.childNodes].some(each => each.nodeType === 3 && each.textContent.trim())) continue;
  if (!node.offsetParent || ['SCRIPT', 'NOSCRIPT'].includes(node.tagName)) continue;
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) low.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
}
return [...low];
"""
