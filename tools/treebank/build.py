"""Build the treebank: annotate, correct, check, split and write it.

``python tools/treebank/build.py`` skips spaCy while ``build/treebank/auto.conllu`` is newer than
the texts; ``--annotate`` forces it, which is needed after a change of the annotation rules.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path

import check
import corrections
import tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "build" / "treebank"
OUT = ROOT / "nissl" / "data" / "treebank"
# Chosen once so that each genre comes out close to 70/10/20; a new value moves every sentence.
SALT = "nissl-2021"


def split_of(sent_id: str) -> str:
    """Return the part a sentence belongs to, for ever."""
    digest = hashlib.sha256(f"{SALT}:{sent_id}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return "train" if share < 0.7 else "dev" if share < 0.8 else "test"


def automatic(texts: list[Path], path: Path, force: bool) -> list[tree.Sentence]:
    """Return the automatic annotation, from its file when that is recent enough."""
    newest = max(text.stat().st_mtime for text in texts)
    if force or not path.exists() or path.stat().st_mtime <= newest:
        import annotate

        tree.write(path, annotate.annotate(texts))
    return list(tree.read(path))


def build(force: bool) -> None:
    """Run every step; raise :class:`tree.TreebankError` on the first that fails."""
    sentences = automatic(sorted((HERE / "text").glob("*.txt")), WORK / "auto.conllu", force)
    count = corrections.apply(sentences, list(corrections.load(HERE / "corrections")))
    tree.write(WORK / "corrected.conllu", sentences)
    found = [problem for s in sentences for problem in check.problems(s)]
    if found:
        raise tree.TreebankError("\n".join(found))
    parts: dict[str, list[tree.Sentence]] = {"train": [], "dev": [], "test": []}
    for sentence in sentences:
        parts[split_of(sentence.sent_id)].append(sentence)
    print(f"{count} corrections")
    for part, chosen in parts.items():
        tree.write(OUT / f"en_nissl-{part}.conllu", chosen)
        genres = Counter(s.genre for s in chosen)
        tokens = sum(len(s.tokens) for s in chosen)
        print(f"{part}: {len(chosen)} sentences, {tokens} tokens; {dict(sorted(genres.items()))}")


def main() -> int:
    """Build and report a failure in words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotate", action="store_true", help="run spaCy even if not needed")
    try:
        build(parser.parse_args().annotate)
    except tree.TreebankError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
