"""Other labels for the same text: the tables change, no activation does."""

from __future__ import annotations

from pathlib import Path

from nissl.corpus import Corpus
from nissl.errors import StoreError
from nissl.extraction.finish import about_corpus
from nissl.extraction.settings import text_fingerprint
from nissl.store import Activations
from nissl.store.files import lock, write_table
from nissl.store.manifest import open_manifest, write_manifest

__all__ = ["relabel"]


def relabel(path: str | Path, corpus: Corpus) -> Activations:
    """Give a store the labels, splits and ids of another annotation of the same text.

    No model is loaded. Until the tables are whole, the store counts as unfinished.

    Raises
    ------
    StoreError
        The corpus has another text, the store is damaged, or another process writes there.
    """
    folder = Path(path)
    manifest = open_manifest(folder)
    if text_fingerprint(corpus) != manifest.get("text"):
        raise StoreError(
            f"was made from another text than {corpus.name}; labels can be attached to the very "
            "same sentences and words only",
            where=str(folder),
        )
    with lock(folder):
        (folder / "manifest.json").unlink()
        manifest["tables"] = {
            "tokens.parquet": write_table(folder / "tokens.parquet", corpus.tokens),
            "sentences.parquet": write_table(folder / "sentences.parquet", corpus.sentences),
        }
        write_manifest(folder, {**manifest, **about_corpus(corpus)})
    return Activations.open(folder)
