"""Readers of the documentation: tables, code blocks, links and anchors of Markdown pages."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_FENCED = re.compile(r"^([ ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^\|.*\|\n?)+", re.MULTILINE)
_UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")


class CodeBlock(NamedTuple):
    """A fenced block; ``output`` is the block right after it, None without one."""

    language: str
    text: str
    output: "CodeBlock | None"


def read_page(path: str) -> str:
    """Read a page; ``path`` is relative to the root of the repository."""
    return (ROOT / path).read_text()


def pages() -> list[str]:
    """List the paths of all pages that are published."""
    named = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
    return named + sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))


def without_code_blocks(text: str) -> str:
    return _FENCED.sub("", text)


def code_blocks(text: str) -> list[CodeBlock]:
    """Read the fenced blocks of a page, without the indentation that a list gives them."""
    blocks: list[CodeBlock] = []
    start_of_next = len(text)
    for match in reversed(list(_FENCED.finditer(text))):
        body = re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE)
        is_adjacent = blocks and not text[match.end() : start_of_next].strip()
        blocks.insert(0, CodeBlock(match[2], body, blocks[0] if is_adjacent else None))
        start_of_next = match.start()
    return blocks


def tables(text: str) -> list[list[dict[str, str]]]:
    """Read the tables of a page: a row maps the header of each column to the cell."""
    return [_rows(match[0]) for match in _TABLE.finditer(without_code_blocks(text))]


def table(text: str, *header: str) -> list[dict[str, str]]:
    """Read the only table of a page with this header."""
    [found] = [rows for rows in tables(text) if rows and tuple(rows[0]) == header]
    return found


def _rows(text: str) -> list[dict[str, str]]:
    header, _, *rows = ([cell.strip() for cell in _cells(line)] for line in text.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return _UNESCAPED_PIPE.split(line.strip())[1:-1]


def code_spans(text: str) -> list[str]:
    """List the texts in backticks."""
    return re.findall(r"`([^`]+)`", text)


def links(text: str) -> list[str]:
    """List the targets of the links and images of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code_blocks(text))


def anchors(text: str) -> Iterator[str]:
    """Make the anchors of the headings of a page, as GitHub does.

    Lower case; only letters, digits, hyphens and underscores stay; a space becomes a hyphen; a
    repeated anchor gets a number.
    """
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)$", without_code_blocks(text), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1
