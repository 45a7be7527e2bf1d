"""The command line's root: every command registers here."""

from __future__ import annotations

from cyclopts import App

from nissl import __version__

__all__ = ["app"]

app = App(
    name="nissl",
    version=__version__,
    help="Find, weigh and test the individual neurons of neural language models.",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
