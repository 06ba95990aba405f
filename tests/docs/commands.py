"""The commands that stand in the documentation: what is fenced, and what stands between backticks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from node.cli.main import main
from node.model.codes import MANUFACTURER

REPOSITORY = Path(__file__).resolve().parents[2]
#: Everything that an administrator reads.
DOCUMENTS = tuple(
    sorted([REPOSITORY / "README.md", REPOSITORY / "deploy" / "README.md", *(REPOSITORY / "docs").glob("*.md")])
)

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:\.venv/bin/)?bmd-node [^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``words`` are those after the fence: the language, and ``run`` if a test runs it."""

    document: Path
    line: int
    words: tuple[str, ...]
    text: str


def blocks() -> tuple[Block, ...]:
    """Every fenced block of every document."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            body = "".join(line.removeprefix(match[1]) for line in match[3].splitlines(keepends=True))
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(document, line, tuple(match[2].split()), body))
    return tuple(found)


def shell_lines(text: str) -> list[str]:
    """Commands of a block, one for each line that is none of a loop; continued lines are joined."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not re.match(r"\s*(for |do$|done)", line)]


def node_commands() -> list[tuple[str, list[str]]]:
    """Where a ``bmd-node`` command stands, and its arguments."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        # what is fenced has its own lines; inside of it a backtick means nothing
        for match in _INLINE.finditer(_FENCE.sub("", text)):
            if match[1].split() != MANUFACTURER.split():
                found.append((document.name, shlex.split(" ".join(match[1].split()))))
    for block in blocks():
        if block.words[:1] in ((), ("sh",)):
            lines = [
                _of_the_node(shlex.split(line, comments=True)) for line in shell_lines(block.text) if "bmd-node" in line
            ]
            found += [(f"{block.document.name}:{block.line}", words) for words in lines if words]
    return [(where, arguments[1:]) for where, arguments in found]


def _of_the_node(words: list[str]) -> list[str]:
    """The command of the node in a line: all of it, or what `docker compose exec` runs in a container; else nothing."""
    if "exec" in words:
        words = words[words.index("exec") + 2 :]
    return words if words[:1] == ["bmd-node"] else []


def parse(arguments: list[str]) -> None:
    """Take arguments as the command line does, but run nothing; words such as ID and FOLDER stand for values.

    Raises:
        click.UsageError: there is no such command or option.
    """
    command: click.Command = main
    context = click.Context(main, info_name="bmd-node", resilient_parsing=True)
    rest = arguments
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            break
        found = command.get_command(context, rest[0])
        if found is None:
            if getattr(command, "invoke_without_command", False):
                break
            raise click.UsageError(f"there is no command {rest[0]}")
        command, rest = found, rest[1:]
        context = click.Context(command, parent=context, info_name=command.name, resilient_parsing=True)
    command.make_parser(context).parse_args(list(rest))
