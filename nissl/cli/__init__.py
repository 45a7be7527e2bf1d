"""The command line: one command a verb; a signature is its options."""

from __future__ import annotations

import sys

from cyclopts.exceptions import CycloptsError

from nissl.cli import (
    causal,
    comparing,
    crossing,
    explaining,
    extraction,
    languages,
    languages_sharing,
    probing,
    stores,
    studies,
)
from nissl.cli.app import app
from nissl.errors import EXIT_CODE, NisslError

__all__ = [
    "app",
    "causal",
    "comparing",
    "crossing",
    "entry",
    "explaining",
    "extraction",
    "languages",
    "languages_sharing",
    "main",
    "probing",
    "stores",
    "studies",
]

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input, 130 when interrupted)."""
    try:
        app(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"nissl: error: {error}", file=sys.stderr)
        print("nissl: see nissl --help", file=sys.stderr)
        return EXIT_CODE
    except NisslError as error:
        print(f"nissl: error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("nissl: stopped; what is finished is kept, run again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone (nissl rank … | head): not an error.
        sys.stderr.close()
        return 0
    return 0


def entry() -> None:
    """Console script."""
    raise SystemExit(main())
