"""Studies of several models: configuration, the whole command, tables, paragraphs, page."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny_models
import yaml
from study_factory import make_outcome

from nissl.cli import main
from nissl.errors import InputError, ModelError, NisslError, SettingError, StoreError
from nissl.kernels.concentration import gini, pair_mean
from nissl.results import Provenance, load_result
from nissl.study import (
    CrossFindings,
    load_cross,
    load_cross_config,
    load_study,
    make_cross_config,
    run_cross,
)
from nissl.study.combine import combine
from nissl.study.verdicts import apart, judged

NOUNS = ["cat", "dog", "house", "tree", "river", "lamp", "song", "road", "book", "stone"]
VERBS = ["sees", "likes", "finds", "paints", "carries", "hears"]
QUICK = {
    "min_count": 5,
    "grid": [[1e-2, 1e-2]],
    "percents": [10.0],
    "how": ["retrain"],
    "draws": 2,
    "deltas": [1.0, 5.0],
    "precision": 0.2,
    "resamples": 2,
    "neurons": 1,
    "sentences": 3,
    "skip": ["redundancy", "selectivity"],
}


def write_corpus(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, n in (("train", 50), ("dev", 20), ("test", 20)):
        lines = []
        for i in range(n):
            words = [
                ("The", "DET", "_"),
                (str(rng.choice(NOUNS)), "NOUN", "Number=Sing"),
                (str(rng.choice(VERBS)), "VERB", "_"),
                (f"{rng.choice(NOUNS)}s", "NOUN", "Number=Plur"),
                (".", "PUNCT", "_"),
            ]
            lines += [f"# sent_id = {split}-{i}", "# text = " + " ".join(w for w, _, _ in words)]
            lines += [
                f"{j}\t{word}\t{word}\t{tag}\t{tag}\t{feats}\t0\tdep\t_\t_"
                for j, (word, tag, feats) in enumerate(words, start=1)
            ]
            lines.append("")
        (folder / f"small-{split}.conllu").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def settings(corpus: Path, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "title": "Two <b>tiny</b> models",
        "models": [
            {"name": str(tiny_models.folder("bert")), "alias": "<i>bert</i>"},
            {"name": str(tiny_models.folder("gpt2"))},
        ],
        "corpora": {"small": {"source": str(corpus)}},
        "properties": [
            {"label": "upos", "level": "morphology"},
            {"label": "feats.Number", "level": "syntax"},
        ],
        "analysis": QUICK,
    }
    return {**base, **changes}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("cross-corpus"))


def stub_pages(patch: pytest.MonkeyPatch) -> None:
    """Write no figures of the models' own studies: their pages have tests of their own."""

    def page(outcome: Any, path: Path) -> Path:
        path.write_text("page", encoding="utf-8")
        return path

    patch.setattr("nissl.report.write_report", page)
    patch.setattr("nissl.report.write_figures", lambda outcome, folder: [])


@pytest.fixture(scope="session")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("cross")
    (base / "config.yaml").write_text(yaml.safe_dump(settings(corpus)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        stub_pages(patch)
        assert main(["study", str(base / "config.yaml"), "--out", str(base / "out"), "-q"]) == 0
    return base / "out"


# The whole command


def test_the_command_leaves_a_page_tables_figures_and_the_result(finished: Path) -> None:
    assert (finished / "cross.html").is_file()
    names = ("overview", "sets", "layers", "labels", "overlaps")
    assert {p.name for p in (finished / "tables").iterdir()} == {f"{n}.csv" for n in names}
    assert {p.stem for p in (finished / "figures").iterdir()} == {"sets", "layers", "labels"}
    kept = load_result(finished / "results" / "cross")
    assert isinstance(kept, CrossFindings)
    assert kept.models == ("<i>bert</i>", "gpt2")
    assert kept.properties == ("upos", "feats.Number")


def test_rows_are_those_of_the_models_own_studies(finished: Path) -> None:
    found = load_cross(finished).findings
    assert found.overview.height == 4
    assert found.sets.height == 8
    for (folder, model), name in itertools.product(
        (("i-bert-i-", "<i>bert</i>"), ("gpt2", "gpt2")), found.properties
    ):
        (place,) = (p for p in (finished / "models").iterdir() if p.name.startswith(folder))
        own = load_study(place).properties[name]
        here = (pl.col("model") == model) & (pl.col("property") == name)
        row = found.overview.filter(here).row(0, named=True)
        blank = own.baselines.table.filter(pl.col("name") == "random-weights model")
        assert row["accuracy"] == own.probe.accuracy
        assert row["random_weights"] == blank["accuracy"][0]
        assert row["delta"] == 5.0
        assert row["k"] == own.minimal.size(5.0)
        assert row["percent_high"] == pytest.approx(
            100 * own.minimal.sets.filter(pl.col("delta") == 5.0)["k_high"][0] / 64
        )
        assert row["selectivity"] is None
        assert own.selectivity is None
        assert own.redundancy is None
        mass = np.abs(own.probe.coef).sum(axis=0)
        assert row["gini"] == pytest.approx(brute_gini(mass))
        assert row["label_neurons"] == np.median(own.localisation.table["neurons"].to_numpy())
        assert row["label_neurons_low"] <= row["label_neurons"] <= row["label_neurons_high"]
        assert 0 <= row["layer_entropy"] <= 1
        entropy = own.localisation.table["layer_entropy"].to_numpy()
        assert row["layer_entropy"] == pytest.approx(entropy.mean() / np.log2(4))
        assert own.sharing is not None
        assert row["pair_share"] == pytest.approx(own.sharing.table["share"].mean())
        assert row["pairs_shared"] == (own.sharing.table["p_holm"] < 0.05).sum()
        layers = found.layers.filter(here)
        assert layers["depth"].to_list() == pytest.approx([0, 1 / 3, 2 / 3, 1])
        assert layers["accuracy"].to_list() == own.layers.table["accuracy"].to_list()
        labels = found.labels.filter(here)
        assert labels["label"].to_list() == own.localisation.table["class"].to_list()
    overlaps = found.overlaps.filter(pl.col("model") == "gpt2").row(0, named=True)
    own = load_study(finished / "models" / "gpt2").sharing
    assert own is not None
    assert overlaps["share"] == own.table["share"][0]
    assert overlaps["expected_share"] == pytest.approx(own.table["expected"][0] / 3)


def test_a_second_run_makes_no_step_again(
    finished: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished step was made again")

    for verb in ("search_lambda", "fit_probe", "ablate", "minimal_set", "localise"):
        monkeypatch.setattr(f"nissl.study.analyse.{verb}", never)
    before = load_cross(finished).findings.summary()
    seen: list[str] = []
    found = run_cross(
        make_cross_config(settings(corpus)), finished, finished=lambda name, *_: seen.append(name)
    )
    assert seen == ["<i>bert</i>", "gpt2"]
    assert found.findings.summary() == before


def test_the_page_is_made_again_without_any_model(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("nissl.study.run.load_model", never)
    page = finished / "cross.html"
    once = page.read_text(encoding="utf-8")
    page.unlink()
    assert main(["study", "--page-only", "--out", str(finished), "-q"]) == 0
    said = capsys.readouterr().out
    for question in ("How few", "Where do", "Localised or", "Disjoint or"):
        assert question in said
    # The same bytes but for the command, which names the configuration that was kept.
    given, kept = str(finished.parent / "config.yaml"), str(finished / "cross.yaml")
    assert f"nissl study {given} --out" in once
    assert page.read_text(encoding="utf-8") == once.replace(given, kept)


def test_the_page_escapes_runs_nothing_and_links_the_models(finished: Path) -> None:
    page = (finished / "cross.html").read_text(encoding="utf-8")
    assert "<i>bert</i>" not in page
    assert "&lt;i&gt;bert&lt;/i&gt;" in page
    assert "<b>tiny</b>" not in page
    assert "&lt;b&gt;tiny&lt;/b&gt;" in page
    assert "<script" not in page
    assert "default-src 'none'" in page.replace("&#39;", "'")
    links = re.findall(r'<a href="(models/[^"]+)"', page)
    assert len(links) == 2
    for link in links:
        assert (finished / link).is_file()
    outside = re.findall(r'(?:href|src)="(?!#|data:|models/)([^"]*)"', page)
    assert not outside


def test_a_model_that_fails_is_named_and_the_others_are_kept(corpus: Path, tmp_path: Path) -> None:
    broken = tiny_models.copy_folder("bert", tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    config = make_cross_config(
        settings(
            corpus,
            models=[{"name": str(broken), "alias": "broken"}, str(tiny_models.folder("gpt2"))],
            properties=[{"label": "feats.Number"}],
            analysis={**QUICK, "random_weights": False},
        )
    )
    with pytest.raises(ModelError, match=r'model "broken".*studies are kept') as caught:
        run_cross(config, tmp_path / "out")
    assert isinstance(caught.value, NisslError)
    assert list(load_study(tmp_path / "out" / "models" / "gpt2").properties) == ["feats.Number"]
    with pytest.raises(StoreError, match="unfinished"):
        load_cross(tmp_path / "out")


def test_a_folder_without_a_study_of_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no cross\.yaml"):
        load_cross(tmp_path)
    assert main(["study", "--out", str(tmp_path)]) == 2
    assert main(["study", "x.yaml", "--page-only", "--out", str(tmp_path)]) == 2


# Configuration


def test_relative_paths_start_from_the_file(tmp_path: Path) -> None:
    text = """
    models: [minilm, {name: ../models/one, alias: first}, ./two, org/three]
    corpora: {c: {source: {train: data/a.conllu, dev: /abs/b.conllu}}}
    properties: [upos]
    """
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    config = load_cross_config(tmp_path / "c.yaml")
    assert [m.shown for m in config.models] == ["minilm", "first", "two", "org/three"]
    assert [m.name for m in config.models] == [
        "minilm",
        str(tmp_path / "../models/one"),
        str(tmp_path / "two"),
        "org/three",
    ]
    assert config.corpora["c"].source == {
        "train": str(tmp_path / "data/a.conllu"),
        "dev": "/abs/b.conllu",
    }
    study = config.study_of(config.models[1])
    assert study.model.name == config.models[1].name
    assert study.corpora == config.corpora
    assert study.properties == config.properties


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "minilm"}, 'no such setting.*Did you mean "models"'),
        ({"models": [{"name": "a", "alais": "b"}]}, 'models.0.alais.*Did you mean "alias"'),
        ({"models": []}, "name at least one model"),
        ({"models": ["./x/tiny", {"name": "b", "alias": "tiny"}]}, 'two models.*"tiny".*alias'),
        ({"models": [{"name": "a", "alias": ""}]}, "models.0.alias"),
        ({"properties": [{"label": "upos", "levle": "x"}]}, 'Did you mean "level"'),
        ({"analysis": {"skip": ["minimal"]}}, "analysis.skip.0"),
    ],
)
def test_settings_that_cannot_be_are_named(
    corpus: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        make_cross_config(settings(corpus, **changes))


def test_the_example_is_a_configuration() -> None:
    file = Path(__file__).resolve().parents[1] / "examples" / "architectures.yaml"
    config = load_cross_config(file)
    assert [model.shown for model in config.models] == ["minilm", "mpnet", "e5", "smollm2"]
    assert set(config.levels().values()) == {"morphology", "syntax", "semantics"}


# Kernels


def brute_gini(mass: np.ndarray) -> float:
    n = len(mass)
    total = sum(abs(a - b) for a in mass.tolist() for b in mass.tolist())
    return total / (2 * n * n * float(np.mean(mass)))


@pytest.mark.parametrize("seed", range(5))
def test_gini_is_half_the_mean_difference_over_the_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mass = rng.exponential(size=1 + 13 * seed) * (rng.random(1 + 13 * seed) < 0.7)
    mass[0] = 1.0
    assert gini(mass) == pytest.approx(brute_gini(mass), abs=1e-12)
    assert gini(1000 * rng.permutation(mass)) == pytest.approx(gini(mass), abs=1e-12)


def test_gini_at_its_ends_and_where_there_is_none() -> None:
    assert gini(np.full(7, 2.0)) == pytest.approx(0)
    assert gini(np.array([0.0, 0.0, 0.0, 5.0])) == pytest.approx(3 / 4)
    assert np.isnan(gini(np.zeros(3)))
    for bad in ([], [1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(InputError):
            gini(np.array(bad, dtype=np.float64))


def test_pair_mean_resamples_the_things_and_not_the_pairs() -> None:
    rng = np.random.default_rng(0)
    half = rng.random((9, 9))
    table = (half + half.T) / 2
    pairs = [table[i, j] for i, j in itertools.combinations(range(9), 2)]
    mean, low, high = pair_mean(table, n_boot=4000)
    assert mean == pytest.approx(np.mean(pairs))
    drawn = []
    for pick in rng.integers(0, 9, (4000, 9)):
        a, b = np.triu_indices(9, 1)
        differ = pick[a] != pick[b]
        drawn.append(table[pick[a], pick[b]][differ].mean())
    wanted = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose((low, high), wanted, atol=0.02)
    # Were pairs independent, the interval would be far narrower.
    assert high - low > 1.3 * 4 * np.std(pairs) / np.sqrt(36)
    np.fill_diagonal(table, 99.0)
    assert pair_mean(table, n_boot=4000) == (mean, low, high)
    assert np.isnan(pair_mean(table[:2, :2])[1])


# What is said


def made_up(
    percent: dict[tuple[str, str], tuple[float, float, float]],
    *,
    label: dict[str, float] | None = None,
    pair: dict[str, float] | None = None,
    best: dict[str, int] | None = None,
    size: dict[str, int] | None = None,
    trained: float = 0.9,
) -> CrossFindings:
    """Tables with planted minimal sets, neurons a label, overlaps and best layers.

    ``label`` (per cent of the ``size`` of each model) and ``pair`` hold a figure a model (± 10 %),
    ``best`` the best of three layers of each property.
    """
    levels = {"morph": "Morphology", "syn": "syntax", "sem": "semantics"}
    label = label or {"A": 1.0, "B": 1.0}
    pair = pair or {"A": 0.2, "B": 0.2}
    models = tuple(dict.fromkeys(model for model, _ in percent))
    names = tuple(dict.fromkeys(name for _, name in percent))
    rows, layers, labels = [], [], []
    for (model, name), (low, value, high) in percent.items():
        key = {"model": model, "property": name}
        d = (size or {}).get(model, 1000)
        count = d * label[model] / 100
        rows.append(
            {
                **key,
                **{"level": levels.get(name), "neurons": d, "layers": 3, "classes": 5},
                **{"train_tokens": 100, "accuracy": trained, "majority": 0.3, "delta": 1.0},
                **{"low": trained - 0.02, "high": trained + 0.02, "selectivity": None},
                **{"random_weights": 0.6, "random_weights_low": 0.58, "random_weights_high": 0.62},
                **{"k": round(10 * value), "k_low": round(10 * low), "k_high": round(10 * high)},
                **{"percent": value, "percent_low": low, "percent_high": high},
                **{"set_accuracy": 0.88, "set_low": 0.87, "set_high": 0.89},
                **{"random_set": 0.8, "random_set_low": 0.78, "random_set_high": 0.82},
                **{"label_neurons": count, "label_neurons_low": 0.9 * count},
                **{"label_neurons_high": 1.1 * count, "label_percent": label[model]},
                **{"label_percent_low": 0.9 * label[model]},
                **{"label_percent_high": 1.1 * label[model], "gini": 0.8, "layer_entropy": 0.5},
                **{"pairs": 10, "pairs_shared": 4, "pair_share": pair[model]},
                **{"pair_share_low": 0.9 * pair[model], "pair_share_high": 1.1 * pair[model]},
                "pair_expected": 0.01,
            }
        )
        for layer in range(3):
            top = 0.9 if layer == (best or {}).get(name, 1) else 0.5
            layers.append(
                {
                    **key,
                    **{"site": f"hidden.{layer}", "layer": layer, "depth": layer / 2},
                    **{"neurons": 333, "accuracy": top, "low": top - 0.02, "high": top + 0.02},
                    **{"selected": 5, "expected": 5.0, "p_holm": 1.0},
                }
            )
        labels += [
            {**key, "label": c, "train_tokens": 50, "neurons": 9, "low": 8, "high": 10}
            | {"percent": 0.9}
            for c in "xyz"
        ]
    sets = [
        {**{k: row[k] for k in ("model", "property", "delta", "k", "percent", "k_low", "k_high")}}
        | {"accuracy": 0.88, "low": 0.87, "high": 0.89}
        | {"random_accuracy": 0.8, "random_low": 0.78, "random_high": 0.82}
        for row in rows
    ]
    overlaps = [
        {"model": model, "a": a, "b": b, "size_a": 50, "size_b": 50, "overlap": 10}
        | {"expected": 2.5, "share": 0.2, "p": 1e-4, "p_holm": 1e-4, "expected_share": 0.05}
        for model in models
        for a, b in itertools.combinations(names, 2)
    ]
    return CrossFindings(
        provenance=Provenance(method="made up"),
        models=models,
        properties=names,
        mass=0.5,
        overview=pl.DataFrame(rows),
        sets=pl.DataFrame(sets),
        layers=pl.DataFrame(layers),
        labels=pl.DataFrame(labels),
        overlaps=pl.DataFrame(overlaps),
    )


FEW, MANY = (4.0, 5.0, 6.0), (12.0, 14.0, 16.0)


def planted(morph: tuple[float, ...], syn: tuple[float, ...], **options: Any) -> CrossFindings:
    sizes: Any = {(m, n): v for m in "AB" for n, v in (("morph", morph), ("syn", syn))}
    return made_up(sizes, **options)


def verdicts(found: CrossFindings, question: int) -> list[str]:
    return [claim.verdict for claim in found.answers()[question].claims]


def test_few_neurons_flip_with_the_sizes() -> None:
    small, fewer = verdicts(planted(FEW, MANY), 0)
    assert small.startswith("agree")
    assert fewer == "agree (2 of 2 for it, 0 against)"
    small, fewer = verdicts(planted(MANY, FEW), 0)
    assert small.startswith("agree")
    assert fewer == "do not agree (0 of 2 for it, 2 against)"
    large = (60.0, 70.0, 80.0)
    small, fewer = verdicts(planted(large, large), 0)
    assert small.startswith("do not agree")
    assert fewer.startswith("do not decide")
    # Far apart in their middle, but the ranges overlap: nothing is claimed.
    _, fewer = verdicts(planted((4.0, 5.0, 13.0), MANY), 0)
    assert fewer.startswith("do not decide")


def test_random_controls_are_counted_where_intervals_are_apart() -> None:
    said = planted(FEW, MANY).summary()[0]
    assert "as many random neurons in 4 of 4" in said
    assert "random weights in 4 of 4" in said
    weak = planted(FEW, MANY, trained=0.61)
    assert "random weights in 0 of 4" in weak.summary()[0]
    found = planted(FEW, MANY)
    alike = found.overview.with_columns(
        random_set_high=pl.when(pl.col("model") == "A").then(0.875).otherwise("random_set_high")
    )
    near = dataclasses.replace(found, overview=alike)
    assert "as many random neurons in 2 of 4" in near.summary()[0]
    assert "allow 4.0% to 6.0%" in said
    assert "allow 12.0% to 16.0%" in said


def test_where_flips_with_the_best_layers() -> None:
    (low,) = verdicts(planted(FEW, MANY, best={"morph": 0, "syn": 2}), 1)
    (high,) = verdicts(planted(FEW, MANY, best={"morph": 2, "syn": 0}), 1)
    (same,) = verdicts(planted(FEW, MANY, best={"morph": 1, "syn": 1}), 1)
    assert low.startswith("agree")
    assert high.startswith("do not agree")
    assert same.startswith("do not decide")
    said = planted(FEW, MANY, best={"morph": 0, "syn": 2}).summary()[1]
    assert "morph: a single layer does best at depth 0.00" in said
    assert "syn: a single layer does best at depth 1.00" in said
    assert "mean depth 0.50 (random ones: 0.50)" in said


@pytest.mark.parametrize(("question", "name"), [(2, "label"), (3, "pair")])
def test_architectures_differ_only_where_they_are_told_apart(question: int, name: str) -> None:
    far = planted(FEW, MANY, **{name: {"A": 0.1, "B": 0.4}})
    near = planted(FEW, MANY, **{name: {"A": 0.1, "B": 0.11}})
    assert verdicts(far, question) == ["agree (two models told apart on 2 of 2 properties)"]
    assert verdicts(near, question)[0].startswith("do not agree")
    order = ("A below B", "B below A")
    if name == "pair":
        order = ("most disjoint A .* most shared B", "most disjoint B .* most shared A")
    swapped = planted(FEW, MANY, **{name: {"A": 0.4, "B": 0.1}})
    for found, pattern in zip((far, swapped), order, strict=True):
        assert re.search(pattern, found.summary()[question])
    assert not re.search(order[0], near.summary()[question]) or "not told" in near.summary()[3]


def test_a_larger_model_is_not_more_localised_by_its_size_alone() -> None:
    # Ten neurons a label in both: a tenth of the share where there are ten times as many.
    same = planted(FEW, MANY, label={"A": 1.0, "B": 0.1}, size={"A": 1000, "B": 10_000})
    (verdict,) = verdicts(same, 2)
    assert verdict.startswith("do not agree")
    assert "told apart in 0 of 1 pairs" in same.summary()[2]
    assert "10 [9, 11], 1.00%, in A" in same.summary()[2]
    # More neurons, of many more: the two measures say the opposite.
    torn = planted(FEW, MANY, label={"A": 1.0, "B": 0.5}, size={"A": 1000, "B": 10_000})
    assert verdicts(torn, 2)[0].startswith("do not agree")
    # Fewer neurons of more: both measures say so.
    less = planted(FEW, MANY, label={"A": 1.0, "B": 0.05}, size={"A": 1000, "B": 10_000})
    assert verdicts(less, 2)[0].startswith("agree")


def test_overlaps_stand_beside_chance() -> None:
    said = planted(FEW, MANY).summary()[3]
    assert "by chance 1.0%; 8 of 20 pairs share more than chance" in said
    assert "2 pairs of properties 2 share more than chance: 20%" in said
    assert "chance gives 5%" in said


def test_without_levels_no_level_is_compared() -> None:
    sizes: Any = {(m, n): FEW for m in "AB" for n in ("p", "q")}
    found = made_up(sizes)
    assert len(found.answers()[0].claims) == 1
    assert not found.answers()[1].claims
    assert "Morphology" not in " ".join(found.summary())


def test_one_model_alone_differs_from_none() -> None:
    found = made_up({("A", "morph"): FEW, ("A", "syn"): MANY})
    assert verdicts(found, 2) == ["do not decide it: there is one model"]


def test_apart_and_judged() -> None:
    nan = float("nan")
    assert apart((1, 2), (3, 4)) == -1
    assert apart((3, 4), (1, 2)) == 1
    assert apart((1, 3), (3, 4)) == 0
    assert apart((nan, nan), (1, 2)) == 0
    assert [judged(y, n, 4).split(" (")[0] for y, n in ((3, 1), (1, 3), (2, 2), (2, 0))] == [
        "agree",
        "do not agree",
        "do not decide",
        "do not decide",
    ]


@pytest.mark.parametrize("what", ["sets", "layers", "labels"])
def test_figures_have_a_mark_a_model(what: Any) -> None:
    found = planted(FEW, MANY)
    ax = found.plot(what=what)
    figure = ax.get_figure(root=True)
    assert figure is not None
    assert len(figure.axes) == (2 if what == "layers" else 1)
    assert ax.get_legend_handles_labels()[1] == ["A", "B"]


def test_figures_refuse_what_there_is_not() -> None:
    found = planted(FEW, MANY)
    with pytest.raises(SettingError, match='Did you mean "layers"'):
        found.plot(what="layer")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match='Did you mean "morph"'):
        found.plot(what="layers", property="morphs")
    with pytest.raises(SettingError, match="property="):
        found.plot(found.plot(what="sets"), what="layers")


def test_studies_of_other_corpora_are_not_compared() -> None:
    one = make_outcome(tokens=200, properties=("tag",))
    other = dataclasses.replace(
        one,
        corpora={n: {**c, "fingerprint": "other"} for n, c in one.corpora.items()},
    )
    assert combine({"one": one, "two": one}).overlaps.height == 0
    with pytest.raises(StoreError, match='"one" and "two" have other corpora'):
        combine({"one": one, "two": other})
