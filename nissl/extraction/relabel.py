"""Other labels for the same text: the tables change, no activation does."""

from __future__ import annotations

from pathlib import Path

from nissl.corpus import Corpus
from nissl.extraction.finish import about_corpus
from nissl.extraction.settings import check_text
from nissl.store import Activations
from nissl.store.files import lock, write_table
from nissl.store.manifest import open_manifest, write_manifest

__all__ = ["relabel"]


def relabel(path: str | Path, corpus: Corpus) -> Activations:
    """Give a store the labels, splits and ids of another annotation of the same text.

    No model is loaded. Interrupted, it leaves the store as it was or one that does not open; do it
    again then.

    Raises
    ------
    StoreError
        The corpus has another text, the store is damaged, or another process writes there.
    """
    folder = Path(path)
    open_manifest(folder)  # says what is wrong with the name
    with lock(folder):
        manifest = open_manifest(folder)
        check_text(
            folder,
            manifest,
            corpus,
            "labels can be attached to the very same sentences and words only",
        )
        # The manifest knows the tables' checksums: between old and new, the store does not open.
        manifest["tables"] = {
            "tokens.parquet": write_table(folder / "tokens.parquet", corpus.tokens),
            "sentences.parquet": write_table(folder / "sentences.parquet", corpus.sentences),
        }
        write_manifest(folder, {**manifest, **about_corpus(corpus)})
    return Activations.open(folder)
