"""What is to be done: checks before any work, splits of the words, and the run of the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.methods._languages_cell import Cell, Words, choose_words, read_piece, run_cell
from nissl.methods.rankings import parse_method
from nissl.parallel import run_tasks
from nissl.progress import bar, say
from nissl.store import Activations

__all__ = ["PREFIX", "check", "find_label", "make_cells", "run_cells"]

PREFIX = "um."


def find_label(acts: Mapping[str, Activations], category: str) -> str:
    known = {label for store in acts.values() for label in store.labels}
    for label in (f"{PREFIX}{category}", category):
        if label in known:
            return label
    short = sorted(label.removeprefix(PREFIX) for label in known)
    raise SettingError(
        f'no store has a category "{category}"; there are {", ".join(short) or "none"}.'
        f"{did_you_mean(category, short)}"
    )


def check(
    acts: Mapping[str, Activations],
    ks: tuple[int, ...],
    k_of: Mapping[str, int] | None,
    rankings: Sequence[str],
    seeds: int,
    sites: Sequence[str] | None,
    same: Mapping[str, str],
    pretraining: Mapping[str, float] | None,
) -> dict[str, int]:
    """Check what can be known before any work; return site → width.

    ``same`` is the language of each store.
    """
    if len(set(same.values())) < 2:
        one = f": {', '.join(acts)} are of one" if len(acts) > 1 else f", not {len(acts)}"
        raise SettingError(f"overlaps need two or more languages{one}")
    if seeds < 1 or not rankings or len(set(rankings)) < len(rankings):
        raise SettingError("give one seed or more, and rankings that differ")
    for name in rankings:
        parse_method(name)
    amounts: dict[str, float] = {}
    for name, value in (pretraining or {}).items():
        whose = same.get(name, name)
        if amounts.setdefault(whose, value) != value:
            raise SettingError(
                f'amount of data for "{name}": {value:g}, and {amounts[whose]:g} for another '
                f"treebank of {whose}; give one amount a language"
            )
    for name in k_of or {}:
        if name not in acts:
            raise SettingError(f'k of "{name}": no such language.{did_you_mean(name, list(acts))}')
    first, *others = acts.items()
    widths = {site.name: site.width for site in first[1].sites}
    for name, store in others:
        if {site.name: site.width for site in store.sites} != widths or any(
            store.manifest.get(key) != first[1].manifest.get(key)
            for key in ("model", "model_fingerprint")
        ):
            raise SettingError(
                f"the stores of {first[0]} and {name} are of other models or sites; extract all "
                "languages with one model and the same sites"
            )
    for site in sites or ():
        if site not in widths:
            raise SettingError(
                f'no site "{site}"; there are {", ".join(widths)}.{did_you_mean(site, widths)}'
            )
    widths = {site: width for site, width in widths.items() if sites is None or site in sites}
    sizes = [*ks, *(k_of or {}).values()]
    wrong = [k for k in sizes if not 1 <= k <= min(widths.values())]
    if not ks or wrong:
        raise SettingError(
            f"k must be 1 to {min(widths.values())}, the neurons of the narrowest site, not "
            f"{wrong[0] if wrong else 'none'}"
        )
    return widths


def make_cells(
    acts: Mapping[str, Activations],
    labels: Sequence[str],
    same: Mapping[str, str],
    widths: Mapping[str, int],
    rankings: Sequence[str],
    seeds: int,
    k: int,
    place: Path,
    min_count: tuple[int, int, int],
    max_tokens: int,
    seed: int,
) -> tuple[dict[tuple[str, str, int], Words], list[Cell]]:
    """Split the words of every language and category; return them and the cells to rank."""
    words: dict[tuple[str, str, int], Words] = {}
    cells: list[Cell] = []
    for language, store in acts.items():
        for label in labels:
            for at in range(seed, seed + seeds):
                words[language, label, at] = found = choose_words(
                    store.tokens, label, min_count=min_count, max_tokens=max_tokens, seed=at
                )
                if not found.reason:
                    cells += [
                        Cell(
                            language=language,
                            label=label,
                            site=site,
                            seed=at,
                            rankings=tuple(rankings),
                            k=k,
                            store=str(store.path.resolve()),
                            fingerprint=store.fingerprint,
                            folder=str(place.resolve()),
                            words=found,
                        )
                        for site in widths
                    ]
    compared: dict[str, set[str]] = {label: set() for label in labels}
    for (language, label, _), found in words.items():
        if not found.reason:
            compared[label].add(same[language])
    if max((len(each) for each in compared.values()), default=0) < 2:
        why = "; ".join(f"{w}, {x}: {each.reason}" for (w, x, _), each in words.items())
        raise LabelError(f"no category is left in two languages ({why})")
    return words, cells


def run_cells(cells: Sequence[Cell], engine: str, jobs: int | None, address: str | None) -> None:
    """Rank what is not ranked yet; say beforehand how much that is and about how long it takes."""
    todo = [c for c in cells if any(read_piece(c, name) is None for name in c.rankings)]
    kept = len(cells) - len(todo)
    if not todo:
        say(f"grid: all {len(cells):,} cells were finished before")
        return
    # The first cells tell what the others will take; nothing is known of rankings of others.
    trial = todo[:: max(1, len(todo) // 3)][:3] if len(todo) > 12 else []
    seconds = [run_cell(cell) for cell in trial]
    left = [cell for cell in todo if cell not in trial]
    about = ""
    if seconds:
        total = sum(seconds) / len(seconds) * len(left)
        about = f", about {total / 60:.1f} CPU minutes by {len(seconds)} trial cells"
    say(
        f"grid: {len(cells):,} cells (language, category, site, seed), {kept:,} of them finished "
        f"before, each ranked by {', '.join(cells[0].rankings)}{about}"
    )
    if engine == "local" and (jobs or 1) == 1 and address is None:
        with bar(len(left), "rank", unit="cells") as advance:
            for cell in left:
                run_cell(cell)
                advance(1)
        return
    run_tasks(run_cell, left, engine=engine, jobs=jobs, address=address)
