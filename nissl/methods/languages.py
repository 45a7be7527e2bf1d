"""The same neurons in different languages? Rank a category in each, and compare the best."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nissl.methods._languages_assemble import assemble, excluded_table
from nissl.methods._languages_cell import read_piece
from nissl.methods._languages_plan import PREFIX, check, find_label, make_cells, run_cells
from nissl.methods.language_overlap_result import LanguageOverlap
from nissl.results import Provenance
from nissl.store import Activations

__all__ = ["DEFAULT_LANGUAGE_RANKINGS", "compare_languages"]

DEFAULT_LANGUAGE_RANKINGS = ("gaussian:max_tokens=1000", "latent:max_steps=500")


def compare_languages(
    stores: Mapping[str, Activations | str | os.PathLike[str]],
    categories: Sequence[str],
    *,
    k: int | Sequence[int] = 50,
    k_of: Mapping[str, int] | None = None,
    rankings: Sequence[str] = DEFAULT_LANGUAGE_RANKINGS,
    sites: Sequence[str] | None = None,
    genus: Mapping[str, str] | None = None,
    same: Mapping[str, str] | None = None,
    pretraining: Mapping[str, float] | None = None,
    seeds: int = 1,
    min_count: tuple[int, int, int] = (50, 5, 5),
    max_tokens: int = 3000,
    folder: str | os.PathLike[str] | None = None,
    engine: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    compute: bool = True,
    random_weights: bool = False,
    left_out: Mapping[str, int] | None = None,
    draws: int = 1999,
    n_boot: int = 1000,
    seed: int = 0,
) -> LanguageOverlap:
    """Compare the neurons that encode one category in several languages (Stańczak et al. 2022).

    For each language, category and site, words are split by lemma, the neurons are ranked on the
    training words, and the k best of each two languages are compared: their overlap, its exact
    hypergeometric P(overlap ≥ observed), Holm-adjusted. Then four questions are asked of all of
    them: is the overlap above chance, larger within a genus, larger with more pre-training data,
    smaller for categories with more values.

    Parameters
    ----------
    stores
        Language → store of one model on text of that language, all with the same sites.
    categories
        Label columns; ``Number`` stands for ``um.Number`` where a store has that.
    k
        Neurons taken from each ranking, one number or several that are reported one by one.
    k_of
        Language → another k, for all of ``k``: sets may differ in size.
    rankings
        Registered rankings with their settings. A ``gaussian`` without ``steps`` selects as many
        neurons as the largest k.
    sites
        All by default.
    genus
        Language → genus; one that is not named is a genus of its own.
    same
        Name of a store → its language, where two stores are of one: what they share is told apart
        as the most that two languages could, and is in none of the tests.
    pretraining
        Language → amount of data, in any unit, for the third question. Where two stores are of
        one language, by the name of the language or of either.
    seeds
        How often everything random (split by lemma, sample, ranking) is done anew; sets come from
        the mean rank over seeds, and intervals of single pairs span the seeds.
    min_count
        Fewest words of each value in train, dev and test; values that have fewer are dropped, and
        a category with fewer than two values left is not compared in that language.
    max_tokens
        Most training words a ranking sees, a sample in proportion to the values.
    folder
        Where finished rankings are kept, a file each; running again goes on. Temporary by default.
    engine, jobs, address
        Who does the work; see :func:`~nissl.parallel.run_tasks`. This process by default.
    compute
        Whether to rank at all: without, the result is made of what is finished.
    draws, n_boot
        Random sets behind the test of a mean overlap, 40 for each category and site at the least;
        resamples of languages.

    Raises
    ------
    SettingError
        Fewer than two languages, stores with different sites or models, an unknown ranking,
        category, site or language of ``k_of``, two amounts of data for one language, a k that a
        site does not have.
    LabelError
        No category is left in two languages.
    """
    ks = tuple(sorted({int(k)} if isinstance(k, int) else {int(each) for each in k}))
    acts = {
        name: s if isinstance(s, Activations) else Activations.open(Path(os.fspath(s)))
        for name, s in stores.items()
    }
    alike = {x: (same or {}).get(x, x) for x in acts}
    widths = check(acts, ks, k_of, rankings, seeds, sites, alike, pretraining)
    labels = tuple(dict.fromkeys(find_label(acts, c) for c in categories))
    largest = max([*ks, *(k_of or {}).values()])
    origin = {x: _genus_of(x, genus) for x in acts}
    with tempfile.TemporaryDirectory(prefix="nissl-languages-") as own:
        place = Path(own) if folder is None else Path(folder)
        words, cells = make_cells(
            *(acts, labels, alike, widths, rankings, seeds),
            *(largest, place, min_count, max_tokens, seed),
        )
        if compute:
            run_cells(cells, engine, jobs, address)
        found = [(cell, name, read_piece(cell, name)) for cell in cells for name in cell.rankings]
    tables = assemble(
        found, origin, alike, ks, k_of or {}, pretraining, draws=draws, n_boot=n_boot, seed=seed
    )
    counts = dict(left_out or {})
    unsampled = sum(w.unsampled for w in words.values())
    if unsampled:
        counts["words beyond the samples, over all categories"] = unsampled
    first = next(iter(acts.values()))
    return LanguageOverlap(
        provenance=Provenance(
            method="compare_languages",
            settings={
                "k": ks,
                "k_of": dict(k_of or {}),
                "rankings": tuple(rankings),
                "seeds": seeds,
                "min_count": min_count,
                "max_tokens": max_tokens,
                "draws": draws,
                "n_boot": n_boot,
            },
            inputs={name: store.fingerprint for name, store in acts.items()},
            seed=seed,
        ),
        model=str(first.manifest.get("model", "")),
        random_weights=random_weights,
        languages=tuple(acts),
        genus=origin,
        categories=tuple(dict.fromkeys(c.label.removeprefix(PREFIX) for c in cells)),
        sites=tuple(widths),
        rankings=tuple(rankings),
        ks=ks,
        excluded=excluded_table(words),
        left_out=counts,
        **tables,
    )


def _genus_of(language: str, genus: Mapping[str, str] | None) -> str:
    return (genus or {}).get(language) or language
