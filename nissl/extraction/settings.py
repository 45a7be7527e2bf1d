"""What an extraction is made of: the settings that decide its values, kept in ``plan.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nissl.corpus import Corpus
from nissl.errors import ModelError, SettingError, StoreError, did_you_mean
from nissl.model import LoadedModel, Site
from nissl.store.files import read_json, write_json
from nissl.store.manifest import sites_of
from nissl.store.tensors import DTYPES

__all__ = [
    "DECISIVE",
    "POOLINGS",
    "ShardPlan",
    "batch_size",
    "check_plan",
    "check_text",
    "claim",
    "make_settings",
    "plan_shards",
]

POOLINGS = ("last", "first", "mean")
SHARD_TOKENS = 8000
"""Most words a shard: enough that sorting by length inside it leaves little padding. Not a power of
two, whose multiples would fall on the same lines of a processor's cache when values are turned."""
FEWEST_TOKENS = 256
SHARD_BYTES = 1 << 28
"""Most bytes a shard: what bounds memory for wide models (two shards are held)."""
DECISIVE = {
    "model_fingerprint": "model",
    "revision": "revision",
    "tokenizer": "tokenizer",
    "text": "text of the corpus",
    "sites": "sites",
    "pooling": "pooling",
    "on_long": "on_long",
    "dtype": "dtype",
    "shard_tokens": "words a shard",
}
"""Settings on which the values depend, and their names: a folder holds one extraction."""
HASHES = ("model_fingerprint", "tokenizer", "text")


@dataclass(frozen=True)
class ShardPlan:
    """One shard: its number, its sentences and its token rows (first, one after the last)."""

    index: int
    sentences: tuple[int, int]
    rows: tuple[int, int]

    @property
    def n_rows(self) -> int:
        """Number of words."""
        return self.rows[1] - self.rows[0]


def make_settings(
    corpus: Corpus,
    loaded: LoadedModel,
    sites: tuple[Site, ...],
    *,
    pooling: str,
    on_long: str,
    store_dtype: str,
) -> dict[str, Any]:
    """Check the options and gather what decides the values.

    Raises
    ------
    SettingError
        An unknown pooling, dtype or way with long sentences.
    """
    if pooling not in POOLINGS:
        raise SettingError(
            f'pooling is one of {", ".join(POOLINGS)}, not "{pooling}".'
            f"{did_you_mean(str(pooling), POOLINGS)}"
        )
    if on_long not in ("error", "window"):
        raise SettingError(f'on_long is "error" or "window", not "{on_long}"')
    if store_dtype != "model" and store_dtype not in DTYPES:
        raise SettingError(
            f'the store\'s dtype is one of model, {", ".join(DTYPES)}, not "{store_dtype}".'
            f"{did_you_mean(store_dtype, DTYPES)}"
        )
    dtype = loaded.dtype if store_dtype == "model" else store_dtype
    if dtype not in DTYPES:
        raise SettingError(
            f"the model computes in {dtype}, which a store cannot keep; choose one of "
            f"{', '.join(DTYPES)} (--store-dtype)"
        )
    per_token = sum(site.width for site in sites) * DTYPES[dtype][1]
    return {
        "model": loaded.name,
        "model_fingerprint": loaded.fingerprint,
        "revision": loaded.revision,
        "random_init": loaded.random_init,
        "seed": loaded.spec.seed if loaded.spec is not None and loaded.random_init else None,
        "model_dtype": loaded.dtype,
        "tokenizer": tokenizer_fingerprint(loaded.tokenizer),
        "text": text_fingerprint(corpus),
        "sites": [asdict(site) for site in sites],
        "pooling": pooling,
        "on_long": on_long,
        "dtype": dtype,
        "shard_tokens": min(SHARD_TOKENS, max(FEWEST_TOKENS, SHARD_BYTES // per_token)),
    }


def batch_size(loaded: LoadedModel, asked: int | None) -> int:
    """Return the subwords a batch, padding included: as asked, or what suits the device.

    Raises
    ------
    SettingError
        Fewer than one.
    """
    if asked is None:
        return 512 if loaded.device == "cpu" else 16_384
    if asked < 1:
        raise SettingError("batch_tokens must be 1 or more")
    return asked


def text_fingerprint(corpus: Corpus) -> str:
    """Hash of what the model sees and of the words' places: labels may change, this may not."""
    digest = hashlib.sha256()
    texts = corpus.sentences["text"].to_list()
    for first in range(0, len(texts), 4096):
        digest.update(json.dumps(texts[first : first + 4096]).encode())
    for values in (corpus.bounds, corpus.tokens["start"], corpus.tokens["end"]):
        digest.update(np.asarray(values, dtype="<i8").tobytes())
    return digest.hexdigest()


def check_text(folder: Path, manifest: Mapping[str, Any], corpus: Corpus, cure: str) -> None:
    """Refuse a corpus of another text than a store's.

    Raises
    ------
    StoreError
        The texts differ, or the store does not say which one it is of.
    """
    if manifest.get("text") is None:
        raise StoreError(
            "does not say of which text it was made, as it was imported or merged; make it again "
            "from what it was made of",
            where=str(folder),
        )
    if text_fingerprint(corpus) != manifest["text"]:
        raise StoreError(
            f"was made from another text than {corpus.name}; {cure}", where=str(folder)
        )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash what decides how text is cut; padding and truncation are state, changed by calls.

    The two stand before the added tokens in what a tokenizer says of itself, and all else after.
    """
    whole = tokenizer.backend_tokenizer.to_str()
    start = whole.find('"added_tokens"')
    if start < 0:
        raise ModelError("the tokenizer has no list of added tokens; is its library too new?")
    return hashlib.sha256(whole[start:].encode()).hexdigest()


def plan_shards(bounds: np.ndarray, shard_tokens: int) -> list[ShardPlan]:
    """Cut a corpus into runs of whole sentences.

    Parameters
    ----------
    bounds
        First token of each sentence, and the number of tokens, (sentences + 1,).
    """
    shards: list[ShardPlan] = []
    first = 0
    for i in range(1, len(bounds)):
        full = i == len(bounds) - 1 or bounds[i + 1] - bounds[first] > shard_tokens
        if full:
            rows = (int(bounds[first]), int(bounds[i]))
            shards.append(ShardPlan(len(shards), (first, i), rows))
            first = i
    return shards


def claim(folder: Path) -> None:
    """Make the folder, or check that it is empty or a store's own."""
    if folder.exists() and not folder.is_dir():
        raise StoreError("is a file; name a folder for the store", where=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(item.name for item in folder.iterdir())
    except OSError as error:
        raise StoreError(f"cannot be used ({error.strerror})", where=str(folder)) from None
    if "plan.json" in names:
        return
    foreign = [name for name in names if name != ".lock" and not name.endswith(".part")]
    if foreign:
        raise StoreError(
            f"is neither empty nor an activation store (it holds {foreign[0]}, but no plan.json); "
            "name another folder",
            where=str(folder),
        )


def check_plan(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder begun with other settings; otherwise note the settings before any work."""
    path = folder / "plan.json"
    now = json.loads(json.dumps(settings))
    # A plan that came to nothing binds no one: what its error advised can be done in its folder.
    begun = any(folder.glob("shard-*")) or (folder / "manifest.json").exists()
    if not (begun and path.is_file()):
        write_json(path, now)
        return
    before = read_json(path)
    differ = [key for key in DECISIVE if before.get(key) != now[key]]
    if differ:
        shown = "; ".join(_difference(key, before, now) for key in differ)
        raise StoreError(
            f"holds an extraction with other settings ({shown}); use another folder or remove it",
            where=str(folder),
        )
    if before != now:  # the same model under another name, say
        write_json(path, now)


def _difference(key: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say how a setting differs; hashes say nothing to a reader, so they stay out."""
    if key == "sites":
        try:
            old = [site.name for site in sites_of(before)]
        except (KeyError, TypeError, AttributeError):
            return "sites: unreadable there"
        new = [site.name for site in sites_of(now)]
        if old != new:
            return f"sites: {_span(old)} → {_span(new)}"
        return "sites: the same names in other modules"
    if key == "model_fingerprint" and before.get("model") != now["model"]:
        return f"model: {before.get('model')} → {now['model']}"
    if key in HASHES:
        return f"another {DECISIVE[key]}"
    return f"{DECISIVE[key]}: {before.get(key)} → {now[key]}"


def _span(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}…{names[-1]} ({len(names)})"
