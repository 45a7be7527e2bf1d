"""Model × corpus → activation store."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nissl import __version__
from nissl.corpus import Corpus, Sentence
from nissl.errors import ModelError, SettingError, StoreError, did_you_mean
from nissl.inputs import Item, batches, make_items
from nissl.model import KINDS, LoadedModel, Site, capture, find_sites, load_model
from nissl.progress import bar
from nissl.store import Activations
from nissl.store.activations import FORMAT
from nissl.store.shards import (
    finished_shard,
    lock,
    read_json,
    shard_name,
    write_json,
    write_shard,
    write_table,
)

__all__ = ["POOLINGS", "extract"]

POOLINGS = ("last", "first", "mean")
SHARD_TOKENS = 8192
"""Words a shard: large enough that sorting by length inside it leaves little padding."""
DECISIVE = {
    "model_fingerprint": "model",
    "tokenizer": "tokenizer",
    "text": "text of the corpus",
    "sites": "sites",
    "pooling": "pooling",
    "on_long": "on_long",
    "dtype": "dtype",
    "shard_tokens": "words a shard",
}
"""Settings on which the values depend, and their names: a folder holds one extraction."""


def extract(
    corpus: Corpus,
    model: LoadedModel | str,
    out: str | Path | None = None,
    *,
    sites: Sequence[str] | Sequence[Site] = ("hidden",),
    pooling: Literal["last", "first", "mean"] = "last",
    batch_tokens: int = 512,
    on_long: Literal["error", "window"] = "error",
    progress: bool = True,
) -> Activations:
    """Record every neuron of the chosen sites for every word of a corpus.

    Sentences are run in batches sorted by length, padded on the right; beyond rounding, values do
    not depend on the batch. Finished shards are kept: running again goes on where an earlier run
    stopped, and ends with the very bytes of a run that was never interrupted.

    The folder belongs to one model, one set of sites and one text. The text alone decides, that
    is, each sentence's characters and the words' places in it: running again with other labels,
    splits or ids over the same text takes no forward pass, it only writes the tables anew.

    Parameters
    ----------
    corpus
        What to read.
    model
        A loaded model, or the name of one.
    out
        Folder of the store; a temporary one, removed with the returned object, when ``None``.
    sites
        Kinds (``hidden``, ``mlp``, ``head``), names of single sites (``hidden.3``), or sites of
        :func:`~nissl.model.find_sites`.
    pooling
        The word's last subword (the paper's choice), its first, or the mean of all.
    batch_tokens
        Subwords a batch, padding included; a longer sentence is a batch by itself.
    on_long
        A sentence beyond the model's limit stops the work, or is run in half-overlapping windows,
        each word taken from the window in which it has the most context on its shorter side.
    progress
        Whether to report tokens per second on standard error.

    Returns
    -------
    Activations
        Row i is word i of the corpus; the columns are the sites' neurons, in the model's dtype.

    Raises
    ------
    InputError
        A sentence that is too long, a word that yields no subword (the place is named).
    ModelError
        An activation that is not finite (the neuron and the word are named).
    SettingError
        An unknown pooling or site, or a batch of no tokens.
    StoreError
        The folder holds an extraction with other settings (the differences are named), belongs to
        something else, or another process is writing there.
    """
    if pooling not in POOLINGS:
        raise SettingError(
            f'pooling is one of {", ".join(POOLINGS)}, not "{pooling}".'
            f"{did_you_mean(str(pooling), POOLINGS)}"
        )
    if on_long not in ("error", "window"):
        raise SettingError(f'on_long is "error" or "window", not "{on_long}"')
    if batch_tokens < 1:
        raise SettingError("batch_tokens must be 1 or more")
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    found = _sites(loaded, sites)
    settings = {
        "model": loaded.name,
        "model_fingerprint": loaded.fingerprint,
        "revision": loaded.revision,
        "random_init": loaded.random_init,
        "tokenizer": _tokenizer_fingerprint(loaded.tokenizer),
        "text": _text_fingerprint(corpus),
        "sites": [asdict(site) for site in found],
        "pooling": pooling,
        "on_long": on_long,
        "dtype": loaded.dtype,
        "shard_tokens": SHARD_TOKENS,
    }
    with ExitStack() as undo:
        keep = None
        if out is None:
            keep = tempfile.TemporaryDirectory(prefix="nissl-")
            undo.callback(keep.cleanup)
            out = keep.name
        folder = Path(out)
        _claim(folder)
        with lock(folder):
            _check_plan(folder, settings)
            _fill(folder, corpus, loaded, found, settings, batch_tokens, progress)
        store = Activations.open(folder)
        undo.pop_all()
    return store if keep is None else replace(store, keep=keep)


def _fill(
    folder: Path,
    corpus: Corpus,
    loaded: LoadedModel,
    sites: tuple[Site, ...],
    settings: dict[str, Any],
    batch_tokens: int,
    progress: bool,
) -> None:
    """Make the shards that are not whole yet, then the tables, then the manifest."""
    pooling, on_long = settings["pooling"], settings["on_long"]
    shards = _plan(corpus)
    checksums: list[str | None] = [finished_shard(folder, i) for i in range(len(shards))]
    # From here to its end, the folder counts as unfinished: labels of one corpus never meet the
    # manifest of another.
    (folder / "manifest.json").unlink(missing_ok=True)
    done = sum(len(rows) for (_, rows), c in zip(shards, checksums, strict=True) if c)
    description = f"extract {corpus.name}" if progress and done < corpus.n_tokens else None
    sentences = list(corpus) if done < corpus.n_tokens else []
    with bar(corpus.n_tokens, description, unit="tokens", done=done) as advance:
        for index, (members, rows) in enumerate(shards):
            if checksums[index]:
                continue
            chosen = [sentences[i] for i in members]
            items = make_items(loaded, chosen, on_long)
            tensors = _run(loaded, sites, items, len(rows), pooling, batch_tokens, advance)
            for site in sites:
                _check_finite(tensors[site.name], site, chosen, loaded.dtype)
            checksums[index] = write_shard(folder, index, tensors)
    write_table(folder / "tokens.parquet", corpus.tokens)
    write_table(folder / "sentences.parquet", corpus.sentences)
    decisive = {key: settings[key] for key in DECISIVE}
    digest = hashlib.sha256(json.dumps([decisive, checksums], sort_keys=True).encode())
    manifest = {
        "format": FORMAT,
        **settings,
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "labels": list(corpus.labels),
        "left_out": dict(corpus.left_out),
        "bounds": [rows.start for _, rows in shards] + [corpus.n_tokens],
        "shards": checksums,
        "fingerprint": digest.hexdigest(),
        "device": loaded.device,
        "versions": _versions(),
    }
    write_json(folder / "manifest.json", manifest)


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


def _sites(loaded: LoadedModel, sites: Sequence[str] | Sequence[Site]) -> tuple[Site, ...]:
    """Resolve kinds, names and sites to sites, each once."""
    wanted: list[str | Site] = [sites] if isinstance(sites, str | Site) else list(sites)
    if not wanted:
        raise SettingError("name at least one kind of site, such as hidden")
    kinds = dict.fromkeys(item.partition(".")[0] for item in wanted if isinstance(item, str))
    known = find_sites(loaded, list(kinds)) if kinds else ()
    chosen: dict[str, Site] = {}
    for item in wanted:
        if isinstance(item, Site):
            chosen[item.name] = item
            continue
        found = [site for site in known if item in (site.kind, site.name)]
        if not found:
            names = [*KINDS, *(site.name for site in known)]
            raise SettingError(f'the model has no site "{item}".{did_you_mean(item, names)}')
        chosen.update((site.name, site) for site in found)
    return tuple(chosen.values())


def _text_fingerprint(corpus: Corpus) -> str:
    """Hash of what the model sees and of the words' places: labels may change, this may not."""
    digest = hashlib.sha256()
    for sentence in corpus:
        digest.update(json.dumps([sentence.text, sentence.offsets]).encode())
    return digest.hexdigest()


def _tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash what decides how text is cut; padding and truncation are state, changed by calls."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    whole.pop("truncation", None)
    whole.pop("padding", None)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _claim(folder: Path) -> None:
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


def _check_plan(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder begun with other settings; otherwise note the settings before any work."""
    path = folder / "plan.json"
    now = json.loads(json.dumps(settings))
    if path.is_file():
        before = read_json(path)
        differ = [key for key in DECISIVE if before.get(key) != now[key]]
        if differ:
            shown = "; ".join(_difference(key, before, now) for key in differ)
            raise StoreError(
                f"holds an extraction with other settings ({shown}); use another folder or remove "
                "it",
                where=str(folder),
            )
    else:
        write_json(path, now)


def _difference(key: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say how a setting differs; hashes say nothing to a reader, so they stay out."""
    if key == "sites":
        old, new = (
            [f"{s['kind']}.{s['layer']}" for s in side.get(key) or []] for side in (before, now)
        )
        if old != new:
            return f"sites: {_span(old)} → {_span(new)}"
        return "sites: the same names in other modules"
    if key == "model_fingerprint" and before.get("model") != now["model"]:
        return f"model: {before.get('model')} → {now['model']}"
    if key in ("model_fingerprint", "tokenizer", "text"):
        return f"another {DECISIVE[key]}"
    return f"{DECISIVE[key]}: {before.get(key)} → {now[key]}"


def _span(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}…{names[-1]} ({len(names)})"


def _plan(corpus: Corpus) -> list[tuple[range, range]]:
    """Cut the corpus into runs of sentences: (sentence numbers, token rows) of each shard."""
    lengths = np.diff(corpus._bounds)
    shards, first, row, size = [], 0, 0, 0
    for i, n in enumerate(lengths.tolist()):
        if size and size + n > SHARD_TOKENS:
            shards.append((range(first, i), range(row, row + size)))
            first, row, size = i, row + size, 0
        size += n
    shards.append((range(first, len(lengths)), range(row, row + size)))
    return shards


def _run(
    loaded: LoadedModel,
    sites: tuple[Site, ...],
    items: list[Item],
    n_rows: int,
    pooling: str,
    batch_tokens: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Run the items of a shard and return site → (rows, width)."""
    import torch

    dtype = getattr(torch, loaded.dtype)
    tensors = {site.name: torch.empty((n_rows, site.width), dtype=dtype) for site in sites}
    pad = loaded.tokenizer.pad_token_id
    pad = 0 if pad is None else int(pad)
    pool: Callable[[Any], Any]
    # Words are picked while the model runs, so that only they are held, and so that a block that
    # changes its input in place cannot change what was seen before it.
    with (
        torch.inference_mode(),
        capture(loaded.model, sites, keep=lambda tensor: pool(tensor.flatten(0, 1))) as seen,
    ):
        for batch in batches(items, batch_tokens):
            longest = max(len(item.ids) for item in batch)
            ids = torch.full((len(batch), longest), pad, dtype=torch.long)
            mask = torch.zeros((len(batch), longest), dtype=torch.long)
            for b, item in enumerate(batch):
                ids[b, : len(item.ids)] = torch.tensor(item.ids)
                mask[b, : len(item.ids)] = 1
            pool = _pooler(batch, longest, pooling, loaded.device)
            loaded.model(input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device))
            target = torch.tensor([row for item in batch for row in item.rows])
            for site in sites:
                tensors[site.name][target] = seen[site.name].to("cpu", dtype)
            advance(len(target))
    return tensors


def _pooler(batch: list[Item], longest: int, pooling: str, device: str) -> Any:
    """Return a function from (batch × length, width) to (words, width)."""
    import torch

    if pooling in ("first", "last"):
        side = 0 if pooling == "first" else -1
        at = [b * longest + int(p[side]) for b, item in enumerate(batch) for p in item.pieces]
        index = torch.tensor(at, device=device)
        return lambda flat: flat.index_select(0, index)
    at, word, count = [], [], 0
    for b, item in enumerate(batch):
        for piece in item.pieces:
            at += [b * longest + int(p) for p in piece]
            word += [count] * len(piece)
            count += 1
    index, owner = torch.tensor(at, device=device), torch.tensor(word, device=device)
    size = torch.bincount(owner, minlength=count).to(torch.float32)[:, None]

    def mean(flat: Any) -> Any:
        # Sums in float32: half precision would lose bits in long words.
        total = torch.zeros((count, flat.shape[1]), dtype=torch.float32, device=flat.device)
        total.index_add_(0, owner, flat.index_select(0, index).to(torch.float32))
        return total / size

    return mean


def _check_finite(values: Any, site: Site, sentences: Sequence[Sentence], dtype: str) -> None:
    """Refuse values that are not numbers; name the first neuron and the word it was seen at."""
    import torch

    if torch.isfinite(values).all():
        return
    row, neuron = (~torch.isfinite(values)).nonzero()[0].tolist()
    value = values[row, neuron].item()
    for sentence in sentences:
        if row < len(sentence.words):
            break
        row -= len(sentence.words)
    else:
        raise AssertionError("a shard's rows are its sentences' words")
    cure = (
        "run the model in float32 or bfloat16 (--dtype)"
        if dtype == "float16"
        else "the model's weights are damaged, or too large for its dtype"
    )
    raise ModelError(
        f'neuron {site.name}:{neuron} is {value} at word {row + 1} "{sentence.words[row]}"; {cure}',
        where=sentence.where,
    )


def shard_files(store: Activations) -> list[Path]:
    """Return the paths of a store's shards."""
    return [store.path / shard_name(i) for i in range(len(store.manifest["shards"]))]
