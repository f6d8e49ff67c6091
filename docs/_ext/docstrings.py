"""Docstrings are plain text: paragraphs, aligned lists of names, drawings, doctests. This makes them reST."""

from __future__ import annotations

import re
from typing import Any

ENTRY = re.compile(r"^(\S(?:.*?\S)?) {2,}(\S.*)$")  # "name   what it is"


def paragraph(text: str) -> str:
    """Plain text with `code`, as reST."""
    pieces = re.split(r"`([^`]+)`", text)
    made = ""
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            made += re.sub(r"([\\*|_])", r"\\\1", piece)
        else:
            after = pieces[i + 1][:1]
            made += f"``{piece}``" + ("\\ " if after and not re.match(r"[\s.,:;!?)\]}'\"/-]", after) else "")
    return made


def is_list(block: list[str]) -> bool:
    """Whether a block is an aligned list of names."""
    if not ENTRY.match(block[0]):
        return False
    outer = [i for i, line in enumerate(block) if not line.startswith(" ")]
    return all(ENTRY.match(block[i]) or (i + 1 < len(block) and block[i + 1].startswith("    ")) for i in outer)


def entries(block: list[str]) -> list[str]:
    """An aligned list of names as a definition list."""
    found: list[tuple[str, list[str]]] = []
    for line in block:
        if line.startswith(" "):
            found[-1][1].append(line.strip())
        elif match := ENTRY.match(line):
            found.append((match[1], [match[2]]))
        else:
            found.append((line.strip(), []))
    lines: list[str] = []
    for name, text in found:
        lines += [", ".join(f"``{one}``" for one in name.split(", ")), "    " + paragraph(" ".join(text)), ""]
    return lines


def convert(lines: list[str]) -> list[str]:
    """A docstring as reST."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    made: list[str] = []
    literal = False
    for block in filter(None, blocks):
        if block[0].startswith(">>>"):
            made += [*block, ""]
        elif all(line.startswith("  ") for line in block):
            made += ([] if literal else ["::", ""]) + ["    " + line for line in block] + [""]
        elif is_list(block):
            made += entries(block)
        else:
            made += [paragraph(" ".join(line.strip() for line in block)), ""]
        literal = all(line.startswith("  ") for line in block)
    return made


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = convert(lines)


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
