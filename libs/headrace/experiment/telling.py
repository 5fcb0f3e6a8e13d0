"""What the experiment says while it runs: what it does, since when, and how much of it is left."""

import time

from rich.console import Console, RenderableType

_LINE_S = 10.0
"""Progress of one thing is told at most so often."""


class Tell:
    """Lines with the time since the beginning."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._told_at = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def step(self, what: str) -> None:
        """Something new begins."""
        self._line(f"[bold]{what}[/bold]")

    def detail(self, what: str) -> None:
        """Something is done, or was found."""
        self._line(f"  {what}")

    def progress(self, what: str, done: int, total: int) -> None:
        """How far something is; most calls say nothing."""
        now = time.monotonic()
        if done == total or now - self._told_at >= _LINE_S:
            self._told_at = now
            self._line(f"  {what}: {done} of {total} rows")

    def show(self, what: RenderableType) -> None:
        """A table, or anything else to print."""
        self._console.print(what)

    def _line(self, what: str) -> None:
        minutes, seconds = divmod(int(self.elapsed_s), 60)
        self._console.print(f"{minutes:3}:{seconds:02} {what}", highlight=False, soft_wrap=True)
