"""A store from an activation file of NeuroX: every word is checked against the corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError, did_you_mean
from nissl.site import Site
from nissl.store.activations import Activations
from nissl.store.bridge.neurox_hdf5 import read_hdf5
from nissl.store.bridge.neurox_json import read_json_lines
from nissl.store.bridge.neurox_sentence import Sentence
from nissl.store.bridge.neurox_words import match, without_count
from nissl.store.bridge.place import annotate, publishing
from nissl.store.files import checksum_of
from nissl.store.tensors import DTYPES
from nissl.store.write import write_store

__all__ = ["from_neurox"]

BLOCK_WORDS = 8000
BLOCK_BYTES = 1 << 26
"""A shard is closed at whichever comes first."""


class AnnotatedText(Protocol):
    """What is asked of a corpus; the store does not know the room that makes it."""

    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> pl.DataFrame: ...
    @property
    def sentences(self) -> pl.DataFrame: ...
    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def left_out(self) -> Mapping[str, int]: ...


def from_neurox(
    activations_file: str | Path,
    corpus: AnnotatedText,
    out_folder: str | Path,
    *,
    model: str,
    dtype: str = "float32",
    layers: Sequence[int] | None = None,
) -> Activations:
    """Turn an activation file of NeuroX into a store, with the words and labels of a corpus.

    The file and the corpus must be the same sentences in the same order. Each word is compared:
    NeuroX keeps a word's subwords as the tokenizer spells them, so marks of subwords, case and
    accents may differ, and unknown pieces match anything; the manifest's ``words`` counts how many
    were ``equal``, ``spelled`` or ``unknown``. HDF5 keeps a sentence's words joined by spaces.

    NeuroX cuts a sentence that is too long for the model, and gives a word without subwords zeros.
    Both are refused here: the first by the number of words, the second by the empty word in the
    file.

    One block of sentences is held in memory.

    Parameters
    ----------
    activations_file
        ``.json`` or ``.hdf5``. Other formats of NeuroX run code when they are opened.
    corpus
        A :class:`~nissl.corpus.Corpus`.
    out_folder
        A new or empty folder.
    model
        Name of the model; the file does not say.
    dtype
        What the store keeps: ``float32``, ``float16`` or ``bfloat16``.
    layers
        Numbers of the file's layers, 0 for what enters the first block: a file of some layers
        numbers them anew from 0, and so does one made without embeddings. By default the file's own
        numbers, or the one in its name where NeuroX wrote a file a layer (``…-layer3.json``).

    Returns
    -------
    Activations
        Sites ``hidden.<layer>``; the file does not say which modules they came from.

    Raises
    ------
    SettingError
        Another suffix, an unknown dtype, or layers that are not those of the file in number.
    InputError
        Something in the file is not as it should be, or differs from the corpus; file, line or
        dataset, sentence and word are named.
    StoreError
        The folder is in use or cannot be written, h5py is not installed, or a value does not fit
        the dtype.
    """
    path = Path(activations_file)
    readers = {".json": read_json_lines, ".hdf5": read_hdf5}
    if path.suffix not in readers:
        raise SettingError(
            f"activation files are read as .json or .hdf5, not {path.suffix or 'without suffix'} "
            f"({path}); pickled ones run code when opened: write them again with NeuroX as .hdf5"
        )
    if dtype not in DTYPES:
        raise SettingError(
            f'dtype is one of {", ".join(DTYPES)}, not "{dtype}".{did_you_mean(dtype, DTYPES)}'
        )
    with publishing(out_folder, empty_ok=True) as folder:
        how: Counter[str] = Counter()
        checked = _checked(readers[path.suffix](path), path, corpus, how)
        first = next(checked, None)
        if first is None:
            raise InputError("has no sentence", where=str(path))
        sites = _sites(first, path, layers)
        write_store(
            folder,
            model=model,
            corpus=corpus.name,
            sites=sites,
            tokens=corpus.tokens,
            sentences=corpus.sentences,
            labels=corpus.labels,
            blocks=_blocks(first, checked, sites),
            dtype=dtype,
            about={
                "source": {
                    "format": f"neurox{path.suffix.replace('.', '-')}",
                    "file": path.name,
                    "checksum": checksum_of(path),
                }
            },
        )
        fields: dict[str, Any] = {"left_out": dict(corpus.left_out)}
        if isinstance(whole := getattr(corpus, "fingerprint", None), str):
            fields["corpus_fingerprint"] = whole
        annotate(folder, fields, plan={"words": dict(how)})
    return Activations.open(out_folder)


def _sites(first: Sentence, path: Path, layers: Sequence[int] | None) -> list[Site]:
    """Name the layers of the file."""
    count, width = len(first.layers), first.values.shape[2]
    numbers = list(first.layers) if layers is None else [int(layer) for layer in layers]
    named = re.search(r"-layer(\d{1,4})$", path.stem)
    if layers is None and count == 1 and named:
        numbers = [int(named[1])]
    if len(numbers) != count or len(set(numbers)) != count or min(numbers) < 0:
        raise SettingError(
            f"the file has {count} layers ({path}); give that many different numbers from 0 on, "
            f"not {numbers}"
        )
    return [Site("hidden", number, "", "output", width) for number in numbers]


def _checked(
    found: Iterator[Sentence], path: Path, corpus: AnnotatedText, how: Counter[str]
) -> Iterator[Sentence]:
    """Yield the sentences of the file, each as the corpus has it, all alike in layers and width."""
    forms = corpus.tokens["form"].to_list()
    number = corpus.tokens["sentence"].to_numpy()
    ids = corpus.sentences["id"].to_list()
    bounds = np.searchsorted(number, np.arange(len(ids) + 1))
    shape: tuple[tuple[int, ...], int] | None = None
    done = 0
    for sentence in found:
        if done == len(ids):
            raise InputError(
                f"is a sentence more than the corpus has ({len(ids):,}); give the corpus that the "
                "file was made from",
                where=sentence.where,
            )
        words = forms[bounds[done] : bounds[done + 1]]
        _check_words(sentence, words, ids[done], how)
        now = (sentence.layers, sentence.values.shape[2])
        if shape is None:
            shape = now
        if now != shape:
            raise InputError(
                f'sentence "{ids[done]}" has layers {list(now[0])} of {now[1]} neurons, the first '
                f"has {list(shape[0])} of {shape[1]}; the file is put together from several",
                where=sentence.where,
            )
        _check_finite(sentence, words, ids[done])
        done += 1
        yield sentence
    if done < len(ids):
        raise InputError(
            f'ends after {done:,} sentences; sentence "{ids[done]}" and {len(ids) - done - 1:,} '
            "after it are missing; give the corpus that the file was made from",
            where=str(path),
        )


def _check_words(sentence: Sentence, forms: list[str], ident: str, how: Counter[str]) -> None:
    """Compare the words of a sentence with the corpus."""
    count = len(sentence.values)
    cure = "give the corpus that the file was made from"
    if count != len(forms):
        if count < len(forms):
            cure = (
                "NeuroX cuts what is too long for the model: leave the sentence out, or extract it "
                "with Nissl"
            )
        raise InputError(
            f'sentence "{ident}" has {count} words in the file and {len(forms)} in the corpus; '
            f"{cure}",
            where=sentence.where,
        )
    words = sentence.words
    if words is None:
        text = sentence.text or ""
        if " ".join(forms) in (text, without_count(text)):
            how["equal"] += count
            return
        split = next(
            (s for t in (text, without_count(text)) if len(s := t.split(" ")) == count), None
        )
        if split is None:
            raise InputError(
                f'sentence "{ident}" is "{text[:80]}" in the file and "{" ".join(forms)[:80]}" in '
                f"the corpus; {cure}",
                where=sentence.where,
            )
        words = split
    for i, (word, form) in enumerate(zip(words, forms, strict=True)):
        if not word:
            raise InputError(
                f'word {i + 1} of sentence "{ident}", "{form}", had no subword in NeuroX, which '
                "wrote zeros for it; leave the sentence out",
                where=sentence.where,
            )
        found = match(word, form)
        if found is None:
            raise InputError(
                f'word {i + 1} of sentence "{ident}" is "{word}" in the file and "{form}" in the '
                f"corpus; {cure}",
                where=sentence.where,
            )
        how[found] += 1


def _check_finite(sentence: Sentence, forms: list[str], ident: str) -> None:
    bad = np.argwhere(~np.isfinite(sentence.values))
    if len(bad):
        word, layer, neuron = (int(i) for i in bad[0])
        raise InputError(
            f"neuron {neuron} of layer {sentence.layers[layer]} is "
            f'{sentence.values[word, layer, neuron]} at word {word + 1}, "{forms[word]}", of '
            f'sentence "{ident}"; extract again',
            where=sentence.where,
        )


def _blocks(
    first: Sentence, rest: Iterator[Sentence], sites: Sequence[Site]
) -> Iterator[dict[str, np.ndarray]]:
    """Gather sentences into blocks: site → float32 (words, width)."""
    most = max(1, min(BLOCK_WORDS, BLOCK_BYTES // (4 * sum(site.width for site in sites))))
    held: list[np.ndarray] = []
    words = 0

    def block() -> dict[str, np.ndarray]:
        whole = np.concatenate(held)
        return {site.name: whole[:, i] for i, site in enumerate(sites)}

    for values in (_narrow(sentence) for sentence in _chain(first, rest)):
        if held and words + len(values) > most:
            yield block()
            held, words = [], 0
        held.append(values)
        words += len(values)
    yield block()


def _chain(first: Sentence, rest: Iterator[Sentence]) -> Iterator[Sentence]:
    yield first
    yield from rest


def _narrow(sentence: Sentence) -> np.ndarray:
    """Return the values as float32: JSON and HDF5 may hold what that cannot."""
    with np.errstate(over="ignore"):
        values = sentence.values.astype(np.float32)
    if not np.isfinite(values).all():
        worst = sentence.values.flat[int(np.argmax(np.abs(sentence.values)))]
        raise InputError(f"has the value {worst}, which float32 cannot hold", where=sentence.where)
    return values
