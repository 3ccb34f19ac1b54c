"""A runbook as the person on call follows it: the blocks of one part of its page, in one shell."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.infra.docs.pages import ROOT, RUNBOOKS, SCRIPTS, Block, text_blocks

_SHELL = 'uv() { shift; "$@"; }'
"""`uv run PROGRAM` is this environment's program."""


def steps(page: str, heading: str = "") -> tuple[Block, ...]:
    """The blocks of the part of a page below a heading of the second or third level; none given: of all of the page."""
    text = (RUNBOOKS / f"{page}.md").read_text(encoding="utf-8")
    if heading:
        parts = text.replace("\n### ", "\n## ").split("\n## ")
        (text,) = (part for part in parts if part.partition("\n")[0] == heading)
    return text_blocks(text)


@dataclass(frozen=True)
class Runbook:
    """A folder in which `servers/` are the servers and `infra/` is the repository's."""

    folder: Path

    @classmethod
    def at(cls, folder: Path, servers: Path) -> Runbook:
        (folder / "servers").symlink_to(servers)
        (folder / "infra").symlink_to(ROOT / "infra")
        return cls(folder)

    def follow(self, blocks: tuple[Block, ...], **variables: str) -> str:
        """Take the steps with these variables, in one shell; returns what they printed."""
        script = "\n".join(
            f"python - <<'END'\n{block.text}END" if block.language == "python" else block.text for block in blocks
        )
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", f"{_SHELL}\n{script}"],
            cwd=self.folder,
            env={**os.environ, **variables, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr
