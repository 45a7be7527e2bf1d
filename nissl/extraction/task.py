"""One shard, made or found: an idempotent task that any process can run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nissl.corpus import Sentence
from nissl.errors import ModelError
from nissl.extraction.collect import Buffers, Seen
from nissl.extraction.gpus import claim_gpu
from nissl.extraction.heap import Heap
from nissl.extraction.settings import tokenizer_fingerprint
from nissl.inputs import make_items
from nissl.model import LoadedModel, load_spec
from nissl.store.files import finished, write_shard
from nissl.store.manifest import sites_of

__all__ = ["ShardMaker", "ShardTask", "check_same", "run_shard"]


class ShardMaker:
    """Makes shards one after the other; a GPU computes one while the last is written."""

    def __init__(
        self,
        folder: Path,
        loaded: LoadedModel,
        settings: Mapping[str, Any],
        batch_tokens: int,
    ) -> None:
        self.folder = folder
        self.loaded = loaded
        self.settings = settings
        self.batch_tokens = batch_tokens
        self.buffers = Buffers(loaded, sites_of(dict(settings)), settings["dtype"])
        self.heap = Heap()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="nissl-writer")
        self._writing: deque[Future[dict[str, Any]]] = deque()

    def __enter__(self) -> ShardMaker:
        return self

    def __exit__(self, *failed: object) -> None:
        # What is being written is finished, so that nothing done is lost.
        self._writer.shutdown(wait=True)

    def make(
        self,
        index: int,
        sentences: list[Sentence],
        advance: Callable[[int], None] = lambda n: None,
    ) -> Future[dict[str, Any]]:
        """Compute a shard and begin to write it; the future holds its mark."""
        items = make_items(self.loaded, sentences, self.settings["on_long"])
        rows = sum(len(sentence.words) for sentence in sentences)
        # Memory for two shards at most: the one before the last must be written.
        while len(self._writing) > 1:
            self._writing.popleft().result()
        seen = self.buffers.collect(
            items,
            rows,
            pooling=self.settings["pooling"],
            batch_tokens=self.batch_tokens,
            advance=advance,
        )
        windows = [item.context for item in items if item.context is not None]
        notes = {"windows": len(windows), "context": min(windows)} if windows else {"windows": 0}
        future = self._writer.submit(self._write, index, seen, sentences, notes)
        self._writing.append(future)
        if self.loaded.device == "cpu":
            # Writing beside the model would need memory for a second shard and saves a CPU nothing.
            # A GPU goes on meanwhile.
            wait([future])
        self.heap.settle()
        return future

    def _write(
        self, index: int, seen: Seen, sentences: list[Sentence], notes: dict[str, Any]
    ) -> dict[str, Any]:
        widths = {site.name: site.width for site in self.buffers.sites}
        lines = self.buffers.turned(seen, sentences)
        return write_shard(
            self.folder, index, widths, seen.rows, self.settings["dtype"], lines, notes
        )


@dataclass(frozen=True)
class ShardTask:
    """What another process needs to make one shard."""

    folder: str
    index: int
    sentences: tuple[Sentence, ...]
    spec: Any
    settings: Mapping[str, Any]
    batch_tokens: int


_MAKERS: dict[str, ShardMaker] = {}


def run_shard(task: ShardTask) -> dict[str, Any]:
    """Make a shard unless it is there, and return its mark; the model is loaded once a process."""
    folder = Path(task.folder)
    mark = finished(folder, task.index, sum(len(s.words) for s in task.sentences))
    if mark is not None:
        return mark
    maker = _maker(task)
    return maker.make(task.index, list(task.sentences)).result()


def _maker(task: ShardTask) -> ShardMaker:
    key = f"{task.folder} {task.spec} {task.settings} {task.batch_tokens}"
    if key not in _MAKERS:
        _MAKERS.clear()
        from nissl.parallel import set_threads

        set_threads(1)
        loaded = load_spec(claim_gpu(task.spec))
        check_same(loaded, task.settings)
        _MAKERS[key] = ShardMaker(Path(task.folder), loaded, task.settings, task.batch_tokens)
    return _MAKERS[key]


def check_same(loaded: LoadedModel, settings: Mapping[str, Any]) -> None:
    """Refuse another model, or another tokenizer, than a store was begun with.

    Raises
    ------
    ModelError
        Weights or tokenizer differ.
    """
    if loaded.fingerprint != settings["model_fingerprint"]:
        raise ModelError(
            f'model "{loaded.name}" has other weights than the one the store was begun with; give '
            "this process the same files"
        )
    if tokenizer_fingerprint(loaded.tokenizer) != settings["tokenizer"]:
        raise ModelError(
            f'the tokenizer of model "{loaded.name}" differs from the one the store was begun '
            "with; give this process the same files and versions"
        )
