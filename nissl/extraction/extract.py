"""Model × corpus → activation store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from nissl.corpus import Corpus
from nissl.errors import ModelError, SettingError, StoreError
from nissl.extraction.finish import finish
from nissl.extraction.settings import (
    ShardPlan,
    batch_size,
    check_plan,
    claim,
    make_settings,
    plan_shards,
)
from nissl.extraction.task import ShardMaker, ShardTask, run_shard
from nissl.model import LoadedModel, Site, load_model, resolve_sites
from nissl.parallel import run_tasks
from nissl.progress import bar
from nissl.store import Activations
from nissl.store.files import clear_partial, finished, lock, shard_name
from nissl.store.manifest import sites_of
from nissl.store.tensors import DTYPES

__all__ = ["extract"]


def extract(
    corpus: Corpus,
    model: LoadedModel | str,
    out: str | Path | None = None,
    *,
    sites: Sequence[str] | Sequence[Site] = ("hidden",),
    pooling: Literal["last", "first", "mean"] = "last",
    batch_tokens: int | None = None,
    on_long: Literal["error", "window"] = "error",
    store_dtype: Literal["model", "float32", "float16", "bfloat16"] = "model",
    engine: Literal["local", "dask", "ray"] = "local",
    jobs: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Activations:
    """Record every neuron of the chosen sites for every word of a corpus.

    Sentences are run in batches sorted by length, padded on the right; beyond rounding, values do
    not depend on the batch. The work is a list of shards. Finished ones are kept: running again
    goes on where an earlier run stopped, and ends with the very bytes of a run that was never
    interrupted.

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
        Kinds (``hidden``, ``mlp``, ``head``, ``state``), stacks (``decoder``), names of single
        sites (``hidden.3``), modules (``module.encoder.layer.0.output``), or sites of
        :func:`~nissl.model.find_sites`.
    pooling
        The word's last subword (the paper's choice), its first, or the mean of all.
    batch_tokens
        Subwords a batch, padding included: 512 on a CPU, whose caches hold no more, and 16,384
        elsewhere, unless given. A longer sentence is a batch by itself. Where a device has too
        little memory for a batch, it is halved and the work goes on.
    on_long
        A sentence beyond the model's limit stops the work, or is run in half-overlapping windows,
        each word taken from the window in which it has the most context on its shorter side. The
        store's manifest says how many windows there were, and the fewest subwords of context that
        any word in one of them has on its shorter side.
    store_dtype
        The dtype of the model, or another; a value too large for it is refused.
    engine, jobs, address
        Who does the work: this process, unless ``jobs`` is above 1 or an engine is named. ``jobs``
        processes of this machine, a Dask cluster, or Ray, at an address or started here (see
        :func:`~nissl.parallel.run_tasks`). Workers write to ``out``, which they must all see.
    progress
        Whether to report tokens per second on standard error.

    Returns
    -------
    Activations
        Row i is word i of the corpus; the columns are the sites' neurons.

    Raises
    ------
    InputError
        A sentence that is too long, a word that yields no subword (the place is named).
    ModelError
        An activation that is not finite (the neuron and the word are named); a sentence for which
        the device has too little memory; a model that takes no text.
    SettingError
        An unknown pooling, dtype or site, a batch of no tokens, or a model that workers cannot
        load.
    StoreError
        The folder holds an extraction with other settings (the differences are named), belongs to
        something else, another process is writing there, or the disk is too small or full.
    EngineError
        Workers cannot be reached, or die again and again.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    batch_tokens = batch_size(loaded, batch_tokens)
    if loaded.tokenizer is None:
        raise ModelError(
            f'model "{loaded.name}" has no tokenizer: it takes no text; record its sites with '
            "nissl.model.capture"
        )
    found = resolve_sites(loaded, sites)
    settings = make_settings(
        corpus, loaded, found, pooling=pooling, on_long=on_long, store_dtype=store_dtype
    )
    alone = engine == "local" and (jobs or 1) == 1 and address is None
    if not alone and loaded.spec is None:
        raise SettingError(
            "workers load a model by its name, and this one was made in memory; save it, or "
            "extract with one job"
        )
    with ExitStack() as undo:
        keep = None
        if out is None:
            keep = tempfile.TemporaryDirectory(prefix="nissl-")
            undo.callback(keep.cleanup)
            out = keep.name
        folder = Path(out)
        claim(folder)
        with lock(folder):
            clear_partial(folder)
            check_plan(folder, settings)
            plans = plan_shards(corpus.bounds, settings["shard_tokens"])
            marks = {plan.index: finished(folder, plan.index, plan.n_rows) for plan in plans}
            left = [plan for plan in plans if marks[plan.index] is None]
            # From here to its end, the folder counts as unfinished: labels of one corpus never
            # meet the manifest of another.
            (folder / "manifest.json").unlink(missing_ok=True)
            _check_room(folder, settings, left)
            done = corpus.n_tokens - sum(plan.n_rows for plan in left)
            shown = f"extract {corpus.name}" if progress and left else None
            with bar(corpus.n_tokens, shown, unit="tokens", done=done) as advance:
                if alone:
                    with ShardMaker(folder, loaded, settings, batch_tokens) as maker:
                        begun = {
                            plan.index: maker.make(
                                plan.index, corpus.read(*plan.sentences), advance
                            )
                            for plan in left
                        }
                    made = {index: future.result() for index, future in begun.items()}
                else:
                    tasks = _Tasks(corpus, folder.resolve(), loaded, settings, batch_tokens, left)
                    found_marks = run_tasks(
                        run_shard,
                        tasks,
                        engine=engine,
                        jobs=jobs,
                        address=address,
                        gpus=int(loaded.device.startswith("cuda")),
                        watch=_watch(folder, left, advance),
                    )
                    made = {p.index: m for p, m in zip(left, found_marks, strict=True)}
            clear_partial(folder)
            whole = [made.get(plan.index) or marks[plan.index] or {} for plan in plans]
            finish(folder, corpus, loaded, settings, plans, whole)
        store = Activations.open(folder)
        undo.pop_all()
    return store if keep is None else replace(store, keep=keep)


class _Tasks(Sequence[ShardTask]):
    """Tasks made when they are handed out, so that the text is not held twice."""

    def __init__(
        self,
        corpus: Corpus,
        folder: Path,
        loaded: LoadedModel,
        settings: dict[str, Any],
        batch_tokens: int,
        plans: list[ShardPlan],
    ) -> None:
        self.corpus = corpus
        self.plans = plans
        self.rest = (loaded.spec, settings, batch_tokens)
        self.folder = str(folder)

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, item: Any) -> Any:
        plan = self.plans[item]
        sentences = tuple(self.corpus.read(*plan.sentences))
        return ShardTask(self.folder, plan.index, sentences, *self.rest)


def _watch(folder: Path, plans: list[ShardPlan], advance: Any) -> Any:
    """Return a function that tells the bar of shards that workers have finished since."""
    waiting = list(plans)

    def watch() -> None:
        for plan in list(waiting):
            if (folder / shard_name(plan.index)).is_file():
                waiting.remove(plan)
                advance(plan.n_rows)

    return watch


def _check_room(folder: Path, settings: dict[str, Any], plans: list[ShardPlan]) -> None:
    """Refuse work for which the disk is too small, before it begins."""
    widths = sum(site.width for site in sites_of(settings))
    need = sum(plan.n_rows for plan in plans) * widths * DTYPES[settings["dtype"]][1]
    free = shutil.disk_usage(folder).free
    if need > free:
        raise StoreError(
            f"the store needs {need / 1e9:,.2f} GB more and the disk has {free / 1e9:,.2f} GB; "
            "name a folder on another disk, fewer sites, or --store-dtype float16",
            where=str(folder),
        )
