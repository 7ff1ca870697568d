"""Every command of the README and of docs/ runs as it is written, page by page, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgedl.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SLOW_PAGES = [page for page in PAGES if "```shell\n" in page.read_text()]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text())]


def environment(*folders: Path) -> dict[str, str]:
    """This one, where programs are looked for in these folders and beside Python first."""
    path = os.pathsep.join(map(str, (*folders, Path(sys.executable).parent)))
    return {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}


LONG_PAGES = ("ci", "compare", "encoder-decoder", "energy", "engines", "prune")
"""Half a minute each; `make test-slow` runs them."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.stem in LONG_PAGES)) for page in PAGES],
)
def test_every_block_runs(page: Path, tmp_path: Path, quick_program: Path) -> None:
    """The README's and the long ones with the installed command, the others' with the one that spares the imports."""
    programs = environment() if page.stem in ("README", *LONG_PAGES) else environment(quick_program.parent)
    assert run_blocks(page, tmp_path, ("sh",), programs) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW_PAGES, ids=[page.name for page in SLOW_PAGES])
def test_every_slow_block_runs(page: Path, tmp_path: Path) -> None:
    """`shell` marks what takes minutes or downloads something; it runs after the `sh` blocks before it."""
    assert run_blocks(page, tmp_path, ("sh", "shell"), environment()) >= 1


def run_blocks(page: Path, tmp_path: Path, languages: tuple[str, ...], programs: dict[str, str]) -> int:
    """How many blocks of these languages ran, in this environment."""
    ran = 0
    for language, text in blocks(page):
        if language == "python" and (named := FILE.match(text)):
            (tmp_path / named[1]).write_text(text)
        if language in languages:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=tmp_path,
                env=programs,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            ran += 1
    return ran


def test_make_and_the_commands_without_make_are_the_same() -> None:
    makefile, readme = (ROOT / "Makefile").read_text(), (ROOT / "README.md").read_text()
    for command in ("optimize zoo:digits -o quickstart", "python -m pytest"):
        assert command in makefile
        assert f".venv/bin/{'edgedl ' if 'optimize' in command else ''}{command}" in readme
    for target in ("quickstart", "test"):
        assert f"make {target} " in readme
        assert re.search(rf"^{target}: setup$", makefile, re.MULTILINE)


def test_links_lead_somewhere() -> None:
    found = 0
    for page in (*PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "decisions").glob("*.md")):
        for target, _, heading in (link.partition("#") for link in re.findall(r"\]\(([^):]+)\)", page.read_text())):
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name}: {target}"
            assert not heading or heading in headings(path), f"{page.name}: {target}#{heading}"
            found += 1
    assert found > 50


def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    texts = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in texts}


def options(command: click.Command, verb: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str], str]]:
    """(verb, its long options, its help), of the command and of those in it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found
            yield from options(found, (*verb, name))
    names = {name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
    yield " ".join(verb), {name for name in names if name.startswith("--")} | {"--help"}, command.help or ""


IN_SHORT = {"--output", "--out", "--version", "--help", "--speed-check"}
"""Options that are told of as -o, not at all, or in their negative form."""
COMMAND = re.compile(r"^(?:\$ )?(edgedl .+)$|`(edgedl [^`]+)`", re.MULTILINE)


def test_every_option_is_told_of_and_what_is_told_of_is_an_option() -> None:
    told = "".join(page.read_text() for page in PAGES)
    known = {verb: (names, text) for verb, names, text in options(cli)}
    for verb, (names, text) in known.items():
        missing = [name for name in names - IN_SHORT if not re.search(rf"{name}\b", told + text)]
        assert not missing, f"{verb}: {missing}"
    for match in COMMAND.finditer(told):
        command = match[1] or match[2]
        words = command.split()
        verb = next((verb for verb in (" ".join(words[1:3]), words[1]) if verb in known), "")
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert used <= known[verb][0], f"{command}: {used - known[verb][0]}"


def test_the_workflow_runs_what_the_page_runs() -> None:
    """Every edgedl command of the GitHub Actions example is among those that the page's own test runs."""
    yaml = pytest.importorskip("yaml")
    texts = blocks(ROOT / "docs" / "ci.md")
    (workflow,) = (yaml.safe_load(text) for language, text in texts if language == "yaml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines() if line.startswith("edgedl ")]
    ran = {line for language, text in texts if language == "sh" for line in text.splitlines()}
    assert len(lines) >= 7
    assert set(lines) <= ran
