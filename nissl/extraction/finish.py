"""The end of an extraction: tables, then the manifest, which makes the folder a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nissl import __version__
from nissl.corpus import Corpus
from nissl.extraction.settings import DECISIVE, ShardPlan
from nissl.model import LoadedModel
from nissl.store.files import shard_name, write_table
from nissl.store.manifest import write_manifest

__all__ = ["finish"]


def finish(
    folder: Path,
    corpus: Corpus,
    loaded: LoadedModel,
    settings: Mapping[str, Any],
    plans: Sequence[ShardPlan],
    marks: Sequence[Mapping[str, Any]],
) -> None:
    """Write the tables and the manifest of a store whose shards are all there."""
    manifest = {
        **settings,
        **about_corpus(corpus),
        **about_shards(settings, plans, marks),
        "tables": {
            "tokens.parquet": write_table(folder / "tokens.parquet", corpus.tokens),
            "sentences.parquet": write_table(folder / "sentences.parquet", corpus.sentences),
        },
        "device": loaded.device,
        "versions": _versions(),
    }
    write_manifest(folder, manifest)


def about_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return what the manifest says of the corpus."""
    return {
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "labels": list(corpus.labels),
        "left_out": dict(corpus.left_out),
    }


def about_shards(
    settings: Mapping[str, Any], plans: Sequence[ShardPlan], marks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the manifest says of the shards, and the fingerprint over them."""
    decisive = {key: settings[key] for key in DECISIVE}
    checksums = [mark["checksum"] for mark in marks]
    digest = hashlib.sha256(json.dumps([decisive, checksums], sort_keys=True).encode())
    windows = sum(mark.get("windows", 0) for mark in marks)
    context = [mark["context"] for mark in marks if "context" in mark]
    return {
        "shards": [
            {
                "file": shard_name(plan.index),
                "rows": list(plan.rows),
                "bytes": mark["bytes"],
                "checksum": mark["checksum"],
            }
            for plan, mark in zip(plans, marks, strict=True)
        ],
        "windows": {"count": windows, "least_context": min(context) if context else None},
        "fingerprint": digest.hexdigest(),
    }


def _versions() -> dict[str, str]:
    import tokenizers
    import torch
    import transformers

    return {
        "nissl": __version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
