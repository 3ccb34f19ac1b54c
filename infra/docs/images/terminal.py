"""Makes demo.svg of what `autocast demo` prints: pipe its output into this file."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

FONT = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def picture(text: str) -> str:
    """`text` in a terminal of 80 columns as SVG, with fonts that the reader's machine has."""
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="uv run --no-dev autocast demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: (?:Fira Code, monospace|arial)", f"font-family: {FONT}", svg)


if __name__ == "__main__":
    shown = [line for line in sys.stdin.read().splitlines() if not line.startswith(("Look at", "then open"))]
    Path(__file__).with_name("demo.svg").write_text(picture("\n".join(shown)), encoding="utf-8")
