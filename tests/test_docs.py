"""Every Python example in README.md and docs/ runs, and the commands and files they name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from treadle import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """(line in the page, text) of every block of a language."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in BLOCK.finditer(text) if match[1] == language]
    return [(text.count("\n", 0, match.start(2)) + 1, match[2]) for match in found]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_examples_run(page, tmp_path, monkeypatch, capsys):
    """The blocks of a page are one program, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for line, text in blocks(page, "python"):
        # As many empty lines in front as there are in the page, so that a traceback names the page's line.
        exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)


def test_the_readme_trains_in_each_style(tmp_path, monkeypatch, capsys):
    names = {}
    *styles, network = [text for _, text in blocks(ROOT / "README.md", "python")]
    for text in styles:
        exec(text, names)
        losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
        assert len(losses) == 50
        assert losses[-1] < losses[0]
    exec(network, names)
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.85


def test_commands_that_the_readme_names():
    shown = [text for _, text in blocks(ROOT / "README.md", "console")]
    commands = re.findall(r"^\$ \./dev (.*?) *(?:#.*)?$", "".join(shown), re.MULTILINE)
    assert commands[:2] == ["train digits", "test"]
    for command in commands:
        assert command == "test" or any(f"{command} ".startswith(f"{name} ") for name in cli.COMMANDS), (
            command
        )


def test_every_command_has_its_section():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `treadle ([^`]*?)(?: [A-Z-]+)?`$", text, re.MULTILINE) == list(cli.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
