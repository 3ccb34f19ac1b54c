"""The documentation as its readers use it: pages, their blocks, and following them in a folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "README.md"
DOCS = ROOT / "infra" / "docs"
RUNBOOKS = DOCS / "runbooks"
SITE = ROOT / "infra" / "mkdocs.yml"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
SCRIPTS = Path(sys.executable).parent

NOT_RUN = {
    "pip install uv": "changes the environment that runs the tests",
    "pip install uv && uv run --no-dev autocast demo": "installs the project; test_readme.py runs the demo itself",
    "uv run autocast demo": "test_readme.py runs it",
    "uv run pytest": "the tests themselves",
    "uv run pytest -m …": "the tests themselves",
    "uv run pytest tests/conformance …": "the tests themselves",
    "uv run --extra dask pytest …": "the tests themselves, on real servers",
    "uv run --group viewers pytest …": "the tests themselves, with other viewers installed",
    "uv run ruff …": "CI runs it",
    "uv run mypy": "CI runs it",
    "uv run lint-imports": "CI runs it",
    ".ci/run": "all of CI",
    "uv run --no-dev mlflow ui …": "does not end; test_readme.py opens it",
    "uv run python -m tests.benchmarks": "takes hours and installs the peers",
    "uv run python -m tests.benchmarks.beyond_memory --layers 24 --limit 6": "takes an hour, 31 GB of disk, and root",
    "uv run python -m tests.benchmarks.engine --peers peers/bin/python": "takes an hour and needs AutoCast",
    "uv run python -m tests.benchmarks.public_models": "downloads packages and takes half an hour",
    "uv run --extra dask python -m tests.benchmarks.shards": "takes minutes; tests/tasks/shards calibrates likewise",
    "uv run python -m tests.hazards …": "installs the peers; tests/hazards judges the same nets",
    "uv run autocast bridge serve": "does not end, and needs a Prefect and an MLflow server; tests/integration runs it",
    "uv run autocast bridge register": "needs an MLflow server; tests/integration runs it",
    "uv run autocast results s3://models/results/": "needs servers of Prefect and S3; tests/integration runs it",
    "uv run prefect deploy …": "needs a Prefect server; tests/integration runs it",
    "uv run autocast run model.onnx --calibration data.npz --precision bf16 --target tensorrt …": "needs TensorRT; "
    "test_validate_tensorrt.py runs its like",
    "uv run autocast validate bf16/model.onnx …": "needs TensorRT; test_validate_tensorrt.py runs its like",
    "infra/local/packages": "installs servers; CI runs it",
    "pip install 'autocast-flow[mcp]'": "changes the environment that runs the tests",
    "uv run --extra mcp autocast mcp …": "does not end; tests/flows/agent_server/test_server.py runs it",
    "pip install 'autocast-flow[dask]'": "changes the environment that runs the tests",
    "set -a; . ~/.local/share/autocast/stack/env; set +a": "sets the shell's variables",
    "uv run autocast up …": "starts servers; tests/integration/test_local_stack.py runs it",
    "uv run autocast up": "starts servers; tests/integration/test_local_stack.py runs it",
    "uv run autocast status": "needs these servers; tests/integration/test_local_stack.py runs it",
    "uv run autocast init --local --yes": "needs these servers; tests/integration/test_local_stack.py runs it",
    "uv run autocast init team/ …": "changes the home of who runs the tests; test_init.py runs its like",
    "uv run autocast down …": "stops servers; tests/integration/test_local_stack.py runs it",
    "uv run autocast down": "stops servers; tests/integration/test_local_stack.py runs it",
    "docker compose …": "needs Docker; tests/infra/test_files.py checks the file",
    "kubectl …": "needs a cluster",
    "helm …": "needs a cluster; tests/infra/test_chart.py renders the chart",
    "infra/docker/inventory": "downloads every package; maintainers run it by hand",
    "uv sync …": "changes the environment that runs the tests",
    "uv pip …": "changes the environment that runs the tests",
}
"""Commands in the README and the pages that no test runs as they stand there, and why; … stands for any end."""


class _Site(yaml.SafeLoader):
    """Reads the site's configuration without looking up the Python functions that it names."""


_Site.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, name, node: name)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `title` is the file that it shows, or empty."""

    language: str
    title: str
    text: str

    @property
    def commands(self) -> tuple[str, ...]:
        """The lines of a shell block, continued ones joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return tuple(re.sub(r"  +", " ", line) for line in lines if line.strip() and not line.startswith("#"))


def blocks(page: Path) -> tuple[Block, ...]:
    """The fenced blocks of a page, in their order."""
    return text_blocks(page.read_text(encoding="utf-8"))


def text_blocks(text: str) -> tuple[Block, ...]:
    """The fenced blocks of a text, in their order."""
    found = re.findall(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    return tuple(Block(*each) for each in found)


def pages() -> tuple[Path, ...]:
    """The pages of the site in the order of its navigation."""

    def listed(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, Mapping):
            for value in entry.values():
                yield from listed(value)
        elif isinstance(entry, list):
            for value in entry:
                yield from listed(value)

    return tuple(DOCS / name for name in listed(yaml.load(SITE.read_text(encoding="utf-8"), _Site)["nav"]))


def commands(page: Path) -> tuple[str, ...]:
    """Every command of a page."""
    return tuple(command for block in blocks(page) if block.language == "sh" for command in block.commands)


def why_not(command: str) -> str | None:
    """Why `command` is not run, or None if it is."""
    return next((reason for listed, reason in NOT_RUN.items() if _stands_for(listed, command)), None)


def _stands_for(listed: str, command: str) -> bool:
    return command.startswith(listed[:-1]) if listed.endswith("…") else command == listed


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`command` as its user types it in `folder`, with this environment's programs instead of uv's."""
    words = shlex.split(command)
    assert words[:2] == ["uv", "run"], f"{command}: commands of the documentation begin with `uv run`"
    words = [word for word in words[2:] if word != "--no-dev"]
    own = {"python": [sys.executable], "autocast": [sys.executable, "-c", "from flows.cli import main; main()"]}
    program = own.get(words[0]) or [str(SCRIPTS / words[0])]
    return subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def follow(page: Path, folder: Path, done_before: set[str] | None = None, **environment: str) -> None:
    """Do in `folder` what `page` says: write its files, change those it changes, run its commands and its Python.

    Commands in `done_before` are not run again; those that are run are added to it.
    """
    known = set() if done_before is None else done_before
    for block in blocks(page):
        if block.language == "sh":
            for command in block.commands:
                if why_not(command) is None and command not in known:
                    known.add(command)
                    done = run(command, folder, **environment)
                    assert done.returncode == 0, f"{page.name}: {command}\n{done.stdout}\n{done.stderr}"
        elif block.title:
            edit(block, folder)
        elif block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text],
                cwd=folder,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{page.name}:\n{block.text}\n{done.stderr}"


def edit(block: Block, folder: Path) -> None:
    """Write the file in `folder` that a block with a title shows, or change it as the block's diff says."""
    target = folder / block.title
    if block.language == "diff":
        change(target, block.text)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")


def change(file: Path, diff: str) -> None:
    """Apply a diff without line numbers: its context and removed lines must stand in `file` exactly once."""
    lines = [line for line in diff.splitlines(keepends=True) if not line.startswith("@@")]
    # Whole lines: without the break before them, one of less indentation would be found inside another.
    before = "\n" + "".join(line[1:] for line in lines if line[:1] in " -")
    after = "\n" + "".join(line[1:] for line in lines if line[:1] in " +")
    text = "\n" + file.read_text(encoding="utf-8")
    assert text.count(before) == 1, (
        f"{file}: these lines stand in it {text.count(before)} times, correct what the page quotes:{before}"
    )
    file.write_text(text.replace(before, after).removeprefix("\n"), encoding="utf-8")
