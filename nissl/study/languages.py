"""Treebanks × model → stores → ranked neurons of every language → what languages share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nissl.corpus import Corpus
from nissl.corpus.features import PREFIX, unimorph_columns
from nissl.corpus.treebanks import Treebank, choose_treebanks, find_treebanks, read_treebank
from nissl.errors import SettingError, StoreError, did_you_mean
from nissl.extraction import extract
from nissl.extraction.settings import check_text
from nissl.methods.language_overlap_result import LanguageOverlap
from nissl.methods.languages import DEFAULT_LANGUAGE_RANKINGS, compare_languages
from nissl.model import LoadedModel, load_model
from nissl.progress import say
from nissl.store import Activations
from nissl.store.files import lock

__all__ = ["CATEGORIES", "LanguagesOutcome", "run_languages"]

CATEGORIES = ("Number", "Gender", "Tense", "Person", "Case", "Mood", "POS")


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguagesOutcome:
    """What a study of languages found.

    Attributes
    ----------
    found
        The overlaps in the model.
    null
        The same in a model with random weights, or None.
    treebanks
        Language → treebank.
    command
        The shell command that repeats it.
    """

    found: LanguageOverlap
    null: LanguageOverlap | None
    treebanks: dict[str, Treebank]
    command: str


def run_languages(
    model: str | LoadedModel,
    treebanks: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    categories: Sequence[str] = CATEGORIES,
    languages: Sequence[str] | None = None,
    sites: Sequence[str] = ("hidden",),
    sentences: int | None = None,
    rankings: Sequence[str] = DEFAULT_LANGUAGE_RANKINGS,
    random_weights: bool = False,
    null_rankings: Sequence[str] | None = None,
    compute: bool = True,
    command: str = "",
    load: Mapping[str, Any] | None = None,
    extraction: Mapping[str, Any] | None = None,
    seed: int = 0,
    **grid: Any,
) -> LanguagesOutcome:
    """Extract every treebank of a folder, rank, compare, and save the results below ``out``.

    A second run with the same folder goes on where the first stopped: finished shards of the stores
    (``out/stores``) and finished rankings (``out/pieces``) are read back. Results are saved in
    ``out/results``.

    Parameters
    ----------
    model
        A loaded model, or the name of one.
    treebanks
        One folder or several with files such as ``en_pud-ud-test.conllu``.
    categories
        UniMorph dimensions.
    languages
        Codes, names or ids of treebanks; all by default.
    sites
        Which neurons; overlaps are within each site.
    sentences
        Most sentences of a treebank, drawn by the seed; all by default.
    rankings
        See :func:`~nissl.methods.compare_languages`.
    random_weights
        Also run a model with random weights, the null, with ``null_rankings`` (the first ranking
        by default).
    compute
        Without, nothing is extracted or ranked: the result is of what is finished.
    command
        What a report names as the way to run it again.
    load, extraction
        Further options of :func:`~nissl.model.load_model` and of :func:`~nissl.extraction.extract`
        (``engine``, ``jobs`` and ``address`` go to the grid too).
    grid
        Further options of :func:`~nissl.methods.compare_languages`.

    Raises
    ------
    NisslError
        Bad input: the message names the place and what to do.
    """
    folder = Path(out)
    folders = [treebanks] if isinstance(treebanks, str | os.PathLike) else treebanks
    chosen = choose_treebanks([t for each in folders for t in find_treebanks(each)], languages)
    codes = {name: t.code for name, t in chosen.items()}
    if len(set(codes.values())) < 2:
        raise SettingError(
            f"overlaps need treebanks of two languages, and there is {', '.join(chosen) or 'none'}"
        )
    for what, key, known in (
        ("amount of data", "pretraining", [*chosen, *codes.values()]),
        ("k", "k_of", list(chosen)),
    ):
        for who in grid.get(key) or {}:
            if who not in known:
                raise SettingError(
                    f'{what} for "{who}", which is none of {", ".join(chosen)}.'
                    f"{did_you_mean(who, known)}"
                )
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        corpora = {name: _corpus(name, each, sentences, seed) for name, each in chosen.items()}
        wanted = [f"{PREFIX}{c}" for c in categories]
        for label in wanted:
            if not any(label in corpus.labels for corpus in corpora.values()):
                known = sorted(
                    {x[3:] for c in corpora.values() for x in c.labels if x[:3] == "um."}
                )
                raise SettingError(
                    f'no treebank has a word with "{label[3:]}"; there are {", ".join(known)}.'
                    f"{did_you_mean(label[3:], known)}"
                )
        left_out = _left_out(corpora)
        options: dict[str, Any] = {
            "left_out": left_out,
            "compute": compute,
            "seed": seed,
            **{key: (extraction or {}).get(key) for key in ("jobs", "address")},
            "engine": (extraction or {}).get("engine", "local"),
            **grid,
        }
        found = null = None
        for random in (False, True) if random_weights else (False,):
            kind = "random" if random else "model"
            place = folder / "stores" / kind
            if not compute and random and not place.is_dir():
                say("random weights: nothing is finished")
                continue
            if compute:
                stores = _extract(model, corpora, place, sites, random, load, extraction, seed)
            else:
                stores = _finished(corpora, place, left_out)
            # Without compute some languages may not be there yet.
            options["genus"] = {n: chosen[n].language.genus for n in stores}
            options["same"] = {n: codes[n] for n in stores}
            for key in ("k_of", "pretraining"):
                options[key] = {
                    who: value
                    for who, value in (grid.get(key) or {}).items()
                    if who in stores or who in options["same"].values()
                }
            names = tuple(rankings)
            if random:
                names = tuple(null_rankings or names[:1])
            result = compare_languages(
                stores,
                categories,
                rankings=names,
                folder=folder / "pieces" / kind,
                random_weights=random,
                **options,
            )
            result.save(folder / "results" / ("null" if random else "overlap"))
            found, null = (found, result) if random else (result, null)
        assert found is not None
    return LanguagesOutcome(found=found, null=null, treebanks=chosen, command=command)


def _corpus(name: str, treebank: Treebank, sentences: int | None, seed: int) -> Corpus:
    corpus = read_treebank(treebank)
    if sentences is not None and sentences < corpus.n_sentences:
        corpus = corpus.sample_sentences(sentences, seed=seed)
    say(f"{name}: {treebank.language.name}, {treebank.id}, {corpus.n_tokens:,} words")
    return dataclasses.replace(unimorph_columns(corpus), name=treebank.id)


def _left_out(corpora: Mapping[str, Corpus]) -> dict[str, int]:
    """Sum over languages, and say how much of it there is."""
    total: dict[str, int] = {}
    for corpus in corpora.values():
        for key, count in corpus.left_out.items():
            total[key] = total.get(key, 0) + count
    return dict(sorted(total.items()))


def _extract(
    model: str | LoadedModel,
    corpora: Mapping[str, Corpus],
    folder: Path,
    sites: Sequence[str],
    random: bool,
    load: Mapping[str, Any] | None,
    extraction: Mapping[str, Any] | None,
    seed: int,
) -> dict[str, Activations]:
    if isinstance(model, LoadedModel):
        if random:
            raise SettingError("random weights need a model by its name, not a loaded one")
        loaded = model
    else:
        loaded = load_model(model, **{**(load or {}), "random_init": random, "seed": seed})
    return {
        name: extract(corpus, loaded, folder / name, sites=list(sites), **(extraction or {}))
        for name, corpus in corpora.items()
    }


def _finished(
    corpora: Mapping[str, Corpus], folder: Path, left_out: dict[str, int]
) -> dict[str, Activations]:
    """Open what is extracted; the words of the other languages are counted as left out."""
    found: dict[str, Activations] = {}
    cure = "name the treebanks and --sentences as when it was extracted"
    for name, corpus in corpora.items():
        try:
            store = Activations.open(folder / name)
            check_text(folder / name, store.manifest, corpus, cure)
        except StoreError as error:
            say(f"{name} is left out: {error}")
            left_out[f"words of {name} (not extracted)"] = corpus.n_tokens
            continue
        found[name] = store
    return found
