"""Progress on standard error: a live bar on a terminal, one closing line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["bar", "say", "set_quiet"]

_QUIET = False


def set_quiet(quiet: bool) -> None:
    """Turn every progress line off (``True``) or on (``False``)."""
    global _QUIET
    _QUIET = quiet


def say(message: str) -> None:
    """Print one line of progress to standard error, unless quiet."""
    if not _QUIET:
        print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def bar(
    total: int, description: str | None, *, unit: str = "items", done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``; show rate and time left while the block runs.

    ``done`` counts what an earlier, interrupted run had finished: it moves the bar but not the
    rate. With ``description=None`` nothing is shown.
    """
    if description is None or _QUIET:
        yield lambda n: None
        return
    started = time.perf_counter()
    count = 0

    def rate() -> str:
        return f"{count / max(time.perf_counter() - started, 1e-9):,.0f} {unit}/s"

    if not sys.stderr.isatty():

        def tally(n: int) -> None:
            nonlocal count
            count += n

        yield tally
        seconds = time.perf_counter() - started
        say(f"{description}: {done + count:,} {unit} in {seconds:.1f} s ({rate()})")
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn("{task.fields[rate]}"), Remaining(), console=Console(stderr=True)
    ) as progress:
        task = progress.add_task(description, total=total, completed=done, rate="")

        def advance(n: int) -> None:
            nonlocal count
            count += n
            progress.update(task, completed=done + count, rate=rate())

        yield advance
