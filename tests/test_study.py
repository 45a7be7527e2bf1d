"""Studies: configuration, the whole analysis on a small corpus, resuming, saving."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from nissl.errors import LabelError, NisslError, SettingError, StoreError
from nissl.study import load_config, load_study, make_config, run_study
from nissl.study.corpora import load_corpus, prepare_corpus
from nissl.study.saved import slug
from nissl.study.steps import Steps

NOUNS = ["cat", "dog", "house", "tree", "river", "lamp", "song", "road", "book", "stone", "hill"]
VERBS = ["sees", "likes", "finds", "paints", "carries", "hears", "moves", "holds", "wants"]
QUICK = {
    "min_count": 5,
    "absent": "leave-out",
    "grid": [[1e-2, 1e-2], [3e-3, 3e-3]],
    "percents": [1.0, 10.0],
    "draws": 2,
    "control_seeds": [0],
    "resamples": 2,
    "neurons": 2,
    "sentences": 5,
}


@pytest.fixture(scope="session")
def conllu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus of made-up sentences, in three files."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for split, n in (("train", 70), ("dev", 25), ("test", 25)):
        lines = []
        for i in range(n):
            a, b = rng.choice(NOUNS, 2, replace=False)
            words = [
                ("The", "DET", "_"),
                (str(a), "NOUN", "Number=Sing"),
                (str(rng.choice(VERBS)), "VERB", "Number=Sing"),
                ("two", "NUM", "_"),
                (f"{b}s", "NOUN", "Number=Plur"),
                (".", "PUNCT", "_"),
            ]
            lines.append(f"# sent_id = {split}-{i}")
            lines.append("# text = " + " ".join(word for word, _, _ in words))
            for j, (word, upos, feats) in enumerate(words, start=1):
                head = 0 if j == 3 else 3
                rel = "root" if j == 3 else "dep"
                lines.append(f"{j}\t{word}\t{word}\t{upos}\t{upos}\t{feats}\t{head}\t{rel}\t_\t_")
            lines.append("")
        (folder / f"small-{split}.conllu").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def config_for(conllu: Path, **changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "corpora": {"small": {"source": str(conllu)}},
        "properties": ["upos", "feats.Number"],
        "extraction": {"sites": ["hidden"]},
        "analysis": QUICK,
    }
    return {**base, **changes}


@pytest.fixture(scope="session")
def finished(conllu: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("study")
    return folder, run_study(make_config(config_for(conllu)), folder)


def test_study_runs_the_whole_analysis(finished) -> None:
    folder, outcome = finished
    assert list(outcome.properties) == ["upos", "feats.Number"]
    found = outcome.properties["upos"]
    assert found.probe.accuracy > found.probe.majority + 0.3
    assert set(found.results()) >= {"search", "probe", "ablation", "minimal", "selectivity"}
    assert {r["name"] for r in found.baselines.table.iter_rows(named=True)} == {
        "probe",
        "random-weights model",
        "word memory",
        "majority",
    }
    assert outcome.sharing is not None
    assert outcome.model["neurons"] == 2688
    assert len(outcome.views) >= 2
    assert outcome.corpora["small"]["splits"]["train"] == 420
    saved = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    assert make_config(saved) == make_config(outcome.config)


def test_text_view_shows_test_sentences_with_z_scores(finished) -> None:
    _, outcome = finished
    text = outcome.texts[0]
    assert text.z.shape == (text.words.height, len(text.neurons))
    assert text.words["sentence"].n_unique() == QUICK["sentences"]
    assert np.abs(text.z).max() < 50
    assert text.frame().height == text.words.height


def test_second_run_reads_every_step_back(finished, conllu: Path, monkeypatch) -> None:
    folder, outcome = finished

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished step was made again")

    for name in ("search_lambda", "fit_probe", "ablate", "minimal_set", "redundancy"):
        monkeypatch.setattr(f"nissl.study.analyse.{name}", forbidden)
    again = run_study(make_config(config_for(conllu)), folder)
    for name, found in outcome.properties.items():
        other = again.properties[name]
        assert np.array_equal(found.ranking.order, other.ranking.order)
        assert found.ablation.table.equals(other.ablation.table)


def test_interrupted_study_goes_on(conllu: Path, tmp_path: Path, monkeypatch) -> None:
    import nissl.study.analyse as analyse

    real = analyse.minimal_set

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    config = make_config(config_for(conllu, properties=["upos"]))
    monkeypatch.setattr(analyse, "minimal_set", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(config, tmp_path)
    with pytest.raises(StoreError, match="unfinished"):
        load_study(tmp_path)
    monkeypatch.setattr(analyse, "minimal_set", real)
    monkeypatch.setattr(analyse, "ablate", stop)  # finished before: must not run again
    outcome = run_study(config, tmp_path)
    assert outcome.properties["upos"].minimal.size(1.0) >= 1


def test_saved_study_is_read_back(finished) -> None:
    folder, outcome = finished
    again = load_study(folder)
    assert again.title == outcome.title
    assert again.command == outcome.command == f"nissl run {folder / 'study.yaml'} --out {folder}"
    assert again.config == dict(outcome.config)
    for name, found in outcome.properties.items():
        other = again.properties[name]
        assert found.classes.equals(other.classes)
        for step, result in found.results().items():
            assert result.frame().equals(other.results()[step].frame()), step
    assert (folder / "tables" / "upos" / "minimal.csv").is_file()


def test_label_that_does_not_exist_is_found_before_extraction(conllu: Path, tmp_path: Path) -> None:
    config = make_config(config_for(conllu, properties=["upso"]))
    with pytest.raises(LabelError, match='Did you mean "upos"'):
        run_study(config, tmp_path)
    assert not (tmp_path / "activations").exists()


def test_tags_pattern_leaves_out_and_counts(conllu: Path, tmp_path: Path) -> None:
    properties = [{"label": "upos", "tags": "NOUN|VERB"}]
    analysis = {**QUICK, "random_weights": False}
    config = make_config(config_for(conllu, properties=properties, analysis=analysis))
    outcome = run_study(config, tmp_path)
    found = outcome.properties["upos"]
    assert found.classes["class"].to_list() == ["NOUN", "VERB"]
    assert found.left_out == {"upos tags that do not match NOUN|VERB": 3 * 120}
    assert "random-weights model" not in found.baselines.table["name"].to_list()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corpora": {"a": "x"}, "properties": ["q"], "titel": "s"}, 'Did you mean "title"'),
        (
            {"corpora": {"a": "x"}, "properties": ["q"], "analysis": {"drawz": 3}},
            'analysis.drawz.*Did you mean "draws"',
        ),
        ({"corpora": {"a": "x", "b": "y"}, "properties": ["q"]}, "must name its corpus"),
        (
            {"corpora": {"books": "x"}, "properties": [{"label": "q", "corpus": "bocks"}]},
            'Did you mean "books"',
        ),
        ({"corpora": {"a": "x"}, "properties": []}, "at least one label"),
        ({"corpora": {"a": "x"}, "properties": ["q", "q"]}, "named twice"),
        ({"properties": ["q"]}, "corpora: Field required"),
        (
            {"corpora": {"a": "x"}, "properties": ["q"], "analysis": {"draws": 1}},
            "analysis.draws",
        ),
    ],
)
def test_config_errors_name_the_setting(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make_config(values)


def test_config_files_are_equal_in_yaml_and_toml(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("corpora: {c: data/x.conllu}\nproperties: [upos]\nseed: 3\n")
    (tmp_path / "a.toml").write_text(
        'properties = ["upos"]\nseed = 3\n[corpora]\nc = "data/x.conllu"\n'
    )
    first, second = load_config(tmp_path / "a.yaml"), load_config(tmp_path / "a.toml")
    assert first == second
    # A path in a file starts from the file's folder, wherever the command is given.
    assert first.corpora["c"].source == str(tmp_path / "data/x.conllu")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "corpora: [1, 2\nproperties: x\n", r"a\.yaml:\d+: is not YAML"),
        ("a.toml", "corpora = \n", r"a\.toml: is not TOML"),
        ("a.yaml", "- 1\n", "must hold settings"),
        ("a.yaml", "corpora: {c: x}\nproperties: [upos]\nsede: 1\n", r'a\.yaml: sede.*"seed"'),
    ],
)
def test_config_file_errors_name_the_file(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingError, match=message):
        load_config(tmp_path / name)


def test_saved_configuration_runs_again_from_anywhere(
    conllu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources given relative to one folder are found again from the study's own folder."""
    from nissl.study.config import save_config

    (tmp_path / "work").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work" / "data").symlink_to(conllu)
    (tmp_path / "work" / "model").mkdir()
    (tmp_path / "work" / "model" / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    files = {split: f"data/small-{split}.conllu" for split in ("train", "dev", "test")}
    corpora = {"a": "data", "b": {"source": files}, "c": "nissl:treebank", "d": str(conllu)}
    properties = [{"label": "upos", "corpus": name} for name in corpora]
    config = make_config({"corpora": corpora, "properties": properties, "model": "model"})
    save_config(config, Path("../runs/study.yaml"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = load_config(tmp_path / "runs" / "study.yaml")
    for name in corpora:
        prepare_corpus(name, again.corpora[name], seed=0)
    assert (Path(again.model.name) / "config.json").is_file()
    assert again.properties == config.properties
    assert again.corpora["c"].source == "nissl:treebank"


def test_missing_config_file_has_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("x: 1\n")
    with pytest.raises(SettingError, match=r'Did you mean "study\.yaml"'):
        load_config(tmp_path / "studdy.yaml")


def test_missing_split_says_how_to_make_it(conllu: Path) -> None:
    config = make_config(
        config_for(
            conllu,
            corpora={
                "two": {
                    "source": {
                        "train": str(conllu / "small-train.conllu"),
                        "test": str(conllu / "small-test.conllu"),
                    }
                }
            },
        )
    )
    spec = config.corpora["two"]
    with pytest.raises(SettingError, match=r"no dev split.*dev_share"):
        prepare_corpus("two", spec, seed=0)
    made = prepare_corpus("two", spec.model_copy(update={"dev_share": 0.2}), seed=0)
    counts = dict(made.tokens["split"].value_counts().rows())
    assert counts["test"] == 150
    assert counts["dev"] + counts["train"] == 420
    assert 0 < counts["dev"] < 200
    # Whole sentences move.
    assert made.tokens.group_by("sentence").agg(made.tokens["split"].n_unique()) is not None
    assert made.tokens.group_by("sentence").n_unique()["split"].max() == 1


def test_sample_draws_sentences_of_one_split_and_counts_the_rest(conllu: Path) -> None:
    spec = make_config(config_for(conllu)).corpora["small"]
    drawn = prepare_corpus("small", spec.model_copy(update={"sample": {"train": 10}}), seed=1)
    assert drawn.n_sentences == 10 + 25 + 25
    assert sum(drawn.left_out.values()) == 60
    with pytest.raises(SettingError, match='Did you mean "train"'):
        prepare_corpus("small", spec.model_copy(update={"sample": {"trian": 10}}), seed=1)


def test_load_corpus_splits_anew(conllu: Path) -> None:
    corpus = load_corpus(str(conllu), split_by="sentence", fractions=(0.5, 0.25, 0.25), seed=1)
    counts = dict(corpus.tokens["split"].value_counts().rows())
    assert set(counts) == {"train", "dev", "test"}
    assert counts["train"] != 420


def test_slugs_are_safe_and_different() -> None:
    names = ["xpos", "a/b", "a-b", "../x", "feats.Number", "ä", "", "hidden.3:117"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slug("feats.Number") == "feats.Number"
    for made in slugs:
        assert "/" not in made
        assert not made.startswith(".")


def test_damaged_step_is_made_again(finished, tmp_path: Path) -> None:
    _, outcome = finished
    result = outcome.properties["upos"].minimal
    steps = Steps(tmp_path, {"task": "t"})
    made = []

    def make():
        made.append(1)
        return result

    kind = type(result)
    steps.run("minimal", kind, {"a": 1}, make)
    steps.run("minimal", kind, {"a": 1}, make)
    assert len(made) == 1
    steps.run("minimal", kind, {"a": 2}, make)
    assert len(made) == 2
    (tmp_path / "minimal" / "result.json").write_text("{", encoding="utf-8")
    steps.run("minimal", kind, {"a": 2}, make)
    assert len(made) == 3


def test_study_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study"):
        load_study(tmp_path)
    (tmp_path / "outcome.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(StoreError, match="another format"):
        load_study(tmp_path)


def test_results_are_frozen(finished) -> None:
    _, outcome = finished
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.properties["upos"].minimal.property = "x"  # type: ignore[misc]


def test_other_extraction_settings_are_refused_by_name(finished, conllu: Path) -> None:
    folder, _ = finished
    config = make_config(config_for(conllu, extraction={"pooling": "first"}))
    with pytest.raises(NisslError, match="pooling"):
        run_study(config, folder)
