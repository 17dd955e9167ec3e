"""What MkDocs does not do by itself: pages from outside of docs/, navigation from the index, both references.

Nothing is written twice: the groups and the order of the pages are those of the tables in docs/README.md, README.md and
CHANGELOG.md are shown as they stand, the reference of Python's half comes from its docstrings, and that of Erlang's is
edoc's (`make docs').
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
EDOC = ROOT / "_build" / "doc"
OUTSIDE = {"README.md": "project.md", "CHANGELOG.md": "changelog.md", "LICENSE": "license.txt"}
"""Files above docs/ that pages link to, and what they are called in the site."""

MODULES = [
    "erl",
    "erl.futures",
    "erl.executors",
    "erl.dataflow",
    "erl.compute",
    "erl.functions",
    "erl.serving",
    "erl.shared",
    "erl.haystack",
    "erl.tracing",
    "erl.encoders",
    "erl.decoders",
    "erl.errors",
]
"""The modules of Python's half that programs import."""

INDEX = "README.md"
LEXERS = {
    ("erlang", r"^\d+> "): "erl",
    ("elixir", r"^iex> "): "iex",
    ("lfe", ""): "common-lisp",
    ("", r"^(import Config|defp? )"): "elixir",
}
"""What highlights blocks of a language that have such a line."""


def on_config(config: Any) -> Any:
    config.nav = navigation((ROOT / "docs" / INDEX).read_text(encoding="utf-8"))
    return config


def navigation(index: str) -> list[Any]:
    """The groups of the index page with the pages of their tables, then the references."""
    groups: list[Any] = [{"Start": [{"Documentation": INDEX}, {"The project": "project.md"}]}]
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", index, re.M | re.S):
        pages = [{name: page} for name, page in re.findall(r"^\| \[([^\]]+)\]\(([\w-]+\.md)\)", text, re.M)]
        groups[0]["Start"].extend(pages) if title == "For everybody" else groups.append({title: pages})
    reference = [{module: reference_page(module)} for module in MODULES]
    erlang, changes = {"Erlang's modules": "reference/erlang.md"}, {"Changelog": "changelog.md"}
    return [*groups, {"Reference": [erlang, *reference, changes]}]


def reference_page(module: str) -> str:
    return f"reference/{module}.md"


def on_files(files: Files, config: Any) -> Files:
    for name, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    for module in MODULES:
        files.append(File.generated(config, reference_page(module), content=f"::: {module}\n"))
    files.append(File.generated(config, "reference/erlang.md", content=erlang_page()))
    for path in sorted(EDOC.iterdir()):
        uri = f"erlang/{path.name}"
        if path.suffix == ".html":
            files.append(File.generated(config, uri, content=edoc_page(path.read_text(encoding="utf-8"))))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    files.append(File.generated(config, "site.css", abs_src_path=str(Path(__file__).with_name("site.css"))))
    return files


def edoc_page(text: str) -> str:
    """With links to where things are: edoc takes types of other modules for those of another application."""

    def link(found: re.Match[str]) -> str:
        application, module, anchor, shown = found.groups()
        if application == "py":
            return (
                f'<a href="{module}.html{anchor}">{shown}</a>'
                if (EDOC / f"{module}.html").exists()
                else shown
            )
        return f'<a href="https://www.erlang.org/doc/man/{module}.html{anchor}">{shown}</a>'

    return re.sub(
        r'<a href="http://www\.erlang\.org/edoc/doc/(\w+)/doc/(\w+)\.html([^"]*)">(.*?)</a>', link, text
    )


def erlang_page() -> str:
    """A link to each of edoc's pages, with the first sentence of its module."""
    lines = ["# Erlang's modules", "", "The reference by edoc: [all of its pages](../erlang/index.html).", ""]
    lines += ["| module | |", "|---|---|"]
    description = re.compile(r'<a name="description">.*?</a></h2>\s*(?:<p>)?(.*?)(?:</p>|<h)', re.S)
    for path in sorted(EDOC.glob("*.html")):
        found = description.search(path.read_text(encoding="utf-8"))
        if found is not None:
            sentence = " ".join(re.sub(r"<[^>]+>", "", found[1]).split()).split(". ")[0].rstrip(".")
            lines.append(f"| [{path.stem}](../erlang/{path.name}) | {sentence.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    if page.file.src_uri.startswith("reference/"):
        return markdown
    in_root = page.file.src_uri in OUTSIDE.values()
    lines = re.split(r"(^```[^\n]*\n.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(block(part) if place % 2 else prose(part, in_root) for place, part in enumerate(lines))


def block(text: str) -> str:
    language = text.partition("\n")[0][3:].strip()
    for (known, line), lexer in LEXERS.items():
        if language == known and re.search(line, text, re.M):
            return f"```{lexer}{text[3 + len(language) :]}"
    return text


def prose(text: str, in_root: bool) -> str:
    text = re.sub(r"(\]\()([^)#\s:]*)(?=[)#])", lambda link: link[1] + target(link[2], in_root), text)
    # In the code of a cell a bar needs no backslash here.

    def row(found: re.Match[str]) -> str:
        return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), found[0])

    return re.sub(r"^\|.*$", row, text, flags=re.M)


def target(link: str, in_root: bool) -> str:
    """Where a link of a page leads in the site."""
    if in_root:
        return OUTSIDE.get(link, link.removeprefix("docs/"))
    return OUTSIDE.get(link.removeprefix("../"), link) if link.startswith("../") else link
