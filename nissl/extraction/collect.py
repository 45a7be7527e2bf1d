"""Run a model on the inputs of one shard and keep the words' activations, nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nissl.corpus import Sentence
from nissl.errors import ModelError
from nissl.inputs import Item, batches
from nissl.model import LoadedModel, Site, capture, mixes_padding, offset, run
from nissl.store.tensors import DTYPES

__all__ = ["Buffers", "Seen"]

_MIXES: WeakKeyDictionary[LoadedModel, bool] = WeakKeyDictionary()


class Seen:
    """What a model gave for one shard, in memory that is used again for a later shard."""

    def __init__(self) -> None:
        self._memory: dict[str, Any] = {}
        self.rows = 0
        self.order: np.ndarray | None = None

    def begin(self, sites: Sequence[Site], rows: int, dtype: Any, *, pinned: bool) -> None:
        """Make room for so many tokens at every site; the order is that of the rows."""
        import torch

        self.rows, self.order = rows, None
        for site in sites:
            size = rows * site.width
            if site.name not in self._memory or self._memory[site.name].numel() < size:
                self._memory[site.name] = torch.empty(size, dtype=dtype, pin_memory=pinned)

    def values(self, site: Site) -> Any:
        """Return the tensor (tokens, width) of a site."""
        return self._memory[site.name][: self.rows * site.width].view(self.rows, site.width)


class Buffers:
    """Runs a model on shards, one after the other, and turns what it gave.

    Words are kept as token × neuron until a shard is full. From a GPU they come in the order of the
    run, into pinned memory, so that the copies run beside the model; on a CPU each word is put in
    its place at once, while it is still in the cache. Beside a GPU two shards are held: one that
    the model fills, and one that is turned and written meanwhile, a site at a time; else one.

    Parameters
    ----------
    loaded, sites
        The model, and what to keep of it.
    dtype
        How it is stored.
    """

    def __init__(self, loaded: LoadedModel, sites: Sequence[Site], dtype: str) -> None:
        import torch

        self.loaded = loaded
        self.sites = tuple(sites)
        self.dtype = dtype
        self.budget: int | None = None
        self._equal_lengths = _mixes(loaded)
        self._pad = _padding_id(loaded)
        self._torch_dtype = getattr(torch, dtype)
        self._pinned = loaded.device.startswith("cuda")
        # On a CPU a shard is written before the next one begins (ShardMaker.make).
        first = Seen()
        self._slots = (first, first if loaded.device == "cpu" else Seen())
        self._turned: Any = None

    def collect(
        self,
        items: list[Item],
        n_rows: int,
        *,
        pooling: str,
        batch_tokens: int,
        advance: Callable[[int], None],
    ) -> Seen:
        """Run the items; the result is overwritten by the next call (beside a GPU, the one after).

        Parameters
        ----------
        items
            Every word of the shard, once.
        advance
            Called with the number of words done.

        Raises
        ------
        ModelError
            Not enough memory for one sentence, or a site that does not run.
        """
        import torch

        self._slots = self._slots[::-1]
        seen = self._slots[0]
        seen.begin(self.sites, n_rows, self._torch_dtype, pinned=self._pinned)
        order = self._run(items, seen, pooling, batch_tokens, advance)
        if self._pinned:
            torch.cuda.synchronize(self.loaded.device)
            seen.order = order
        return seen

    def turned(self, seen: Seen, sentences: Sequence[Sentence]) -> Iterator[np.ndarray]:
        """Yield raw bits (neurons, tokens) site after site; each is overwritten by the next.

        Raises
        ------
        ModelError
            A value that is not finite, or too large for the store's dtype; names neuron and word.
        """
        import torch

        bits = torch.int32 if DTYPES[self.dtype][1] == 4 else torch.int16
        size = seen.rows * max(site.width for site in self.sites)
        if self._turned is None or self._turned.numel() < size:
            self._turned = torch.empty(size, dtype=self._torch_dtype)
        for site in self.sites:
            values = seen.values(site)
            if seen.order is not None:
                values = values.index_select(0, torch.from_numpy(seen.order))
            # A sum is finite unless a value is not, or it overflows: the slow look decides.
            if not bool(values.sum().isfinite()):
                check_finite(values, site, sentences, self.loaded.dtype, self.dtype)
            turned = self._turned[: seen.rows * site.width].view(site.width, seen.rows)
            turned.copy_(values.t())
            yield turned.view(bits).numpy()

    def _run(
        self,
        items: list[Item],
        seen: Seen,
        pooling: str,
        batch_tokens: int,
        advance: Callable[[int], None],
    ) -> np.ndarray:
        """Run all batches; return the place of each row in the order of the run, (rows,)."""
        import torch

        n_rows = seen.rows
        targets = {site.name: seen.values(site) for site in self.sites}
        shifts = {site.name: offset(site) for site in self.sites}
        place = np.full(n_rows, -1, dtype=np.int64)
        done = 0
        pool: _Pooler
        kept: set[str] = set()

        # Words are picked while the model runs, so that only they are held, and so that a block
        # that changes its input in place cannot change what was seen before it.
        def keep(site: Site, tensor: Any) -> None:
            if tensor.dim() != 3 or tensor.shape[:2] != pool.shape(shifts[site.name]):
                raise ModelError(
                    f"site {site.name} has shape {tuple(tensor.shape)} in a pass of "
                    f"{' × '.join(map(str, pool.shape()))} tokens, not a row for each; name "
                    "another module"
                )
            kept.add(site.name)
            words = pool(tensor, shifts[site.name])
            target = targets[site.name]
            if self._pinned:
                target[done : done + pool.n_words].copy_(words, non_blocking=True)
            else:
                target.index_copy_(0, pool.rows, words.to(target.device, target.dtype))

        budget = min(batch_tokens, self.budget or batch_tokens)
        left = deque(batches(items, budget, equal_lengths=self._equal_lengths))
        with torch.inference_mode(), capture(self.loaded.model, self.sites, keep=keep, stop=True):
            while left:
                batch = left.popleft()
                pool = _Pooler(batch, pooling)
                kept.clear()
                if not self._forward(batch):
                    if len(batch) == 1:
                        raise ModelError(
                            f"device {self.loaded.device} has too little memory for this sentence "
                            f"of {len(batch[0])} subwords; use a smaller --dtype, fewer sites, or "
                            "--on-long window with a shorter limit",
                            where=batch[0].where,
                        )
                    # Half of what did not fit, from now on: memory will not have grown later.
                    budget = max(1, len(batch) * len(batch[0]) // 2)
                    self.budget = budget
                    rest = [*batch, *(item for more in left for item in more)]
                    left = deque(batches(rest, budget, equal_lengths=self._equal_lengths))
                    continue
                # The buffers hold something else before: nothing may be left as it was.
                for site in self.sites:
                    if site.name not in kept:
                        raise ModelError(
                            f"site {site.name} was not seen in a pass: {site.module} did not run, "
                            "or not as often as in a trial; name another module",
                            where=batch[0].where,
                        )
                place[pool.rows.numpy()] = np.arange(done, done + pool.n_words)
                done += pool.n_words
                advance(pool.n_words)
        if done != n_rows or (place < 0).any():
            raise AssertionError(f"{done} of {n_rows} words were seen")
        return place

    def _forward(self, batch: list[Item]) -> bool:
        """Run one batch; False when the device has too little memory for it."""
        import torch

        longest = max(len(item) for item in batch)
        ids = np.full((len(batch), longest), self._pad, dtype=np.int64)
        mask = np.zeros((len(batch), longest), dtype=np.int64)
        for b, item in enumerate(batch):
            ids[b, : len(item)] = item.ids
            mask[b, : len(item)] = 1
        device = self.loaded.device
        try:
            run(self.loaded, torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        else:
            return True
        # Outside of the handler: the traceback held on to the tensors of the failed pass.
        if self._pinned:
            torch.cuda.empty_cache()
        return False


class _Pooler:
    """Picks the words of a batch out of (batch, length, width), into (words, width)."""

    def __init__(self, batch: list[Item], pooling: str) -> None:
        import torch

        counts = [len(item.rows) for item in batch]
        self.n_words = sum(counts)
        self.rows = torch.from_numpy(np.concatenate([item.rows for item in batch]))
        self._mean = pooling == "mean"
        if self._mean:
            self._at = np.concatenate([item.pieces for item in batch])
            sizes = np.concatenate([np.diff(item.bounds) for item in batch])
            self._owner = np.repeat(np.arange(self.n_words), sizes)
            self._sizes = sizes
            counts = [len(item.pieces) for item in batch]
        elif pooling == "last":
            self._at = np.concatenate([item.pieces[item.bounds[1:] - 1] for item in batch])
        else:
            self._at = np.concatenate([item.pieces[item.bounds[:-1]] for item in batch])
        self._line = np.repeat(np.arange(len(batch)), counts)
        self._index: dict[tuple[int, int], Any] = {}
        self._shape = (len(batch), max(len(item) for item in batch))

    def shape(self, shift: int = 0) -> tuple[int, int]:
        """Return batch and length of what a site gives that is so many positions late."""
        return self._shape[0], self._shape[1] + shift

    def __call__(self, tensor: Any, shift: int) -> Any:
        """Return the words' values; position i of the text is at i + shift."""
        import torch

        length = tensor.shape[1]
        if (length, shift) not in self._index:
            at = torch.from_numpy(self._line * length + self._at + shift)
            self._index[length, shift] = at.to(tensor.device, non_blocking=True)
        flat, index = tensor.flatten(0, 1), self._index[length, shift]
        if self._mean:
            owner = torch.from_numpy(self._owner).to(tensor.device)
            sizes = torch.from_numpy(self._sizes).to(tensor.device, torch.float32)
            # Sums in float32: half precision would lose bits in long words.
            total = torch.zeros(
                (self.n_words, flat.shape[1]), dtype=torch.float32, device=flat.device
            )
            total.index_add_(0, owner, flat.index_select(0, index).to(torch.float32))
            return total / sizes[:, None]
        return flat.index_select(0, index)


def _padding_id(loaded: LoadedModel) -> int:
    """Return what fills short rows: the model's own choice, for RoBERTa counts positions by it.

    A tokenizer can name one that the model has no embedding for.
    """
    config = getattr(loaded.model, "config", None)
    table = getattr(loaded.model, "get_input_embeddings", lambda: None)()
    size = getattr(table, "num_embeddings", None)
    for given in (getattr(config, "pad_token_id", None), loaded.tokenizer.pad_token_id):
        if isinstance(given, int) and given >= 0 and (size is None or given < size):
            return given
    return 0


def _mixes(loaded: LoadedModel) -> bool:
    """Whether padding would change values, or it cannot be told: then nothing is padded."""
    if loaded not in _MIXES:
        try:
            _MIXES[loaded] = mixes_padding(loaded)
        except (ModelError, IndexError):  # no sites to look at, or a vocabulary of very few
            _MIXES[loaded] = True
    return _MIXES[loaded]


def _out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, had too little memory."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text


def check_finite(
    values: Any, site: Site, sentences: Sequence[Sentence], computed: str, stored: str
) -> None:
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
    if stored == "float16" and computed != "float16":
        cure = "it may be too large for float16: store bfloat16 or float32 (--store-dtype)"
    elif computed == "float16":
        cure = "run the model in float32 or bfloat16 (--dtype)"
    else:
        cure = "the model's weights are damaged, or too large for its dtype"
    raise ModelError(
        f'neuron {site.name}:{neuron} is {value} at word {row + 1} "{sentence.words[row]}"; {cure}',
        where=sentence.where,
    )
