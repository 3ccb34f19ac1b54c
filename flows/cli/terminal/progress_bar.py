"""Progress on stderr: a bar in a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

from autocast_core.progress import Progress

_LINE_EVERY_SECONDS = 5.0


class PlainLines:
    """One line when a stage begins, one when it ends, and one every five seconds where a stage says how far it is."""

    def __init__(self, stream: TextIO, notes: MutableMapping[str, str]) -> None:
        self._stream = stream
        self._notes = notes
        self._last = 0.0

    def begin(self, stage: str) -> None:
        self._last = time.monotonic()
        self._line(f"{stage} ...")

    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_SECONDS:
            self._last = now
            self._line(f"{progress.stage}: {describe(progress)}")

    def end(self, stage: str, seconds: float, failed: bool) -> None:
        self._line(f"{stage}: {'failed' if failed else 'done'} after {seconds:.1f} s")

    def note(self, key: str, value: str) -> None:
        self._notes[key] = value

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Bar:
    """A line per stage with a bar, drawn by rich."""

    def __init__(self, bars: Any, notes: MutableMapping[str, str]) -> None:
        self._bars = bars
        self._notes = notes
        self._current: Any = None

    def begin(self, stage: str) -> None:
        self._current = self._bars.add_task(stage, total=None, detail="")

    def update(self, progress: Progress) -> None:
        if self._current is not None:
            self._bars.update(self._current, completed=progress.done, total=progress.total, detail=describe(progress))

    def end(self, stage: str, seconds: float, failed: bool) -> None:
        if self._current is not None:
            detail = "[red]failed[/red]" if failed else ""
            self._bars.update(self._current, completed=1, total=1, detail=detail)
            self._current = None

    def note(self, key: str, value: str) -> None:
        self._notes[key] = value


def describe(progress: Progress) -> str:
    """How far, as ``12 of 40 batches`` or ``31.0 of 438.2 MB``."""
    if progress.unit == "bytes":
        of = f" of {progress.total / 1e6:.1f}" if progress.total else ""
        return f"{progress.done / 1e6:.1f}{of} MB"
    of = f" of {progress.total:g}" if progress.total else ""
    return f"{progress.done:g}{of} {progress.unit}".rstrip()


@contextmanager
def shown_progress(notes: MutableMapping[str, str]) -> Iterator[PlainLines | Bar]:
    """A listener that draws on stderr; what it is told to note goes into `notes`."""
    if not sys.stderr.isatty():
        yield PlainLines(sys.stderr, notes)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield Bar(bars, notes)
