"""Sharing, deactivation and language neurons against loops over inputs, and planted truth."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import words_model as words

from nissl.effects import (
    answer_accuracy,
    loss_effect,
    make_parallel,
    parallel_texts,
    perplexity,
    read_parallel,
)
from nissl.errors import InputError, ModelError, SettingError
from nissl.kernels.sharing import CLASSES
from nissl.methods import deactivate, language_neurons, sharing
from nissl.methods import deactivate as deactivate_function
from nissl.methods._sharing_patterns import Rule, find_patterns
from nissl.methods.deactivation import EVERY, Deactivation
from nissl.methods.language_set_result import LanguageNeurons
from nissl.methods.sharing_result import LanguageSharing
from nissl.model import Edit, capture, edited, find_sites, resolve_sites, silenced, value_vectors
from nissl.results import load_result

GATES = {"gpt2": "transformer.h.{}.mlp.act", "llama": "model.layers.{}.mlp.act_fn"}


def values_of(model, text, read="activation", kind="gpt2"):
    """Values of all units at every position of one text, (length, d)."""
    sites = find_sites(model, ["mlp"])
    if read == "activation":
        sites = resolve_sites(model, [f"module.{GATES[kind].format(i)}" for i in (0, 1)])
    with torch.inference_mode(), capture(model, sites) as seen:
        model.model(input_ids=words.ids(model, text))
        return np.concatenate([seen[site.name][0].numpy() for site in sites], axis=1)


def classes_of(model, parallel, threshold: Any = 0.0, position="last", **options):
    """Class of every neuron over every group, by a loop."""
    pool = {"last": lambda v: v[-1], "any": lambda v: v.max(0), "mean": lambda v: v.mean(0)}
    active = np.array(
        [pool[position](values_of(model, t, **options)) > threshold for t in parallel.input]
    ).reshape(len(parallel.group), len(parallel.languages), -1)
    times = active.sum(axis=1)
    n = len(parallel.languages)
    return np.select([times == n, times == 0, times == 1], [0, 3, 2], 1), active


@pytest.mark.parametrize(
    ("kind", "position", "read"),
    [
        ("gpt2", "last", "activation"),
        ("llama", "any", "activation"),
        ("llama", "mean", "unit"),
        ("llama", "last", "unit"),
    ],
)
def test_shares_are_those_of_a_loop(kind, position, read):
    model = words.make(kind)
    parallel = words.known(model)
    found = sharing(model, parallel, position=position, read=read, threshold=0.05, n_boot=100)
    classes, active = classes_of(model, parallel, 0.05, position, read=read, kind=kind)
    for c, cls in enumerate(CLASSES):
        mine = classes == c
        assert found.share(cls)["share"] == pytest.approx(mine.mean())
        assert found.share(cls)["neurons"] == pytest.approx(mine.sum(axis=1).mean())
        assert found.share(cls, "mlp.2")["share"] == pytest.approx(mine[:, 24:].mean())
        assert np.array_equal(found.times[:, c], mine.sum(axis=0))
    total = found.table.filter(pl.col("site") == "mlp.1")["share"].sum()
    assert total == pytest.approx(1.0)
    row = found.by_language.filter((pl.col("site") == "mlp.1") & (pl.col("language") == "yy"))
    assert row["active"][0] == pytest.approx(active[:, 1, :24].mean())
    assert row["specific"][0] == pytest.approx((active[:, 1] & (classes == 2))[:, :24].mean())
    assert row["partial"][0] == pytest.approx((active[:, 1] & (classes == 1))[:, :24].mean())


@pytest.mark.parametrize("position", ["any", "mean"])
def test_a_start_token_is_no_part_of_the_input(position):
    model = dataclasses.replace(words.make(), start="zz0")
    parallel = words.known(model)
    found = sharing(model, parallel, position=position, scores=False, n_boot=20)
    pool = {"any": lambda v: v.max(0), "mean": lambda v: v.mean(0)}[position]
    active = np.array([pool(values_of(model, f"zz0 {t}")[1:]) > 0 for t in parallel.input])
    times = active.reshape(len(parallel.group), 3, -1).sum(axis=1)
    assert found.share("all-shared")["share"] == pytest.approx((times == 3).mean())
    assert found.share("non-activated")["share"] == pytest.approx((times == 0).mean())
    whole = np.array([pool(values_of(model, f"zz0 {t}")) > 0 for t in parallel.input])
    assert (whole != active).any()


def test_scores_are_those_of_a_loop():
    model = words.make("llama")
    parallel = words.known(model)
    found = sharing(model, parallel, n_boot=50)
    classes, _ = classes_of(model, parallel, kind="llama")
    down = [value_vectors(model, site).vectors for site in find_sites(model, ["mlp"])]
    out = model.model.lm_head.weight.numpy()
    added, score = np.zeros((2, 4)), np.zeros((2, 4))
    for i, (text, answer) in enumerate(zip(parallel.input, parallel.answer, strict=True)):
        m = values_of(model, text, "unit")[-1]
        e = out[model.tokenizer.convert_tokens_to_ids(answer)]
        for s in (0, 1):
            for j in range(24):
                c = classes[i // 3, 24 * s + j]
                added[s, c] += abs(m[24 * s + j]) * np.linalg.norm(down[s][j])
                score[s, c] += e @ down[s][j] * m[24 * s + j]
    for s in (0, 1):
        part = found.scores.filter(pl.col("site") == f"mlp.{s + 1}")
        assert np.allclose(part["contribution"], added[s] / added[s].sum(), atol=1e-5)
        assert np.allclose(part["effective"], score[s] / len(parallel), atol=1e-4)
    whole = found.scores.filter(pl.col("site") == "all")
    assert np.allclose(whole["effective"], score.sum(axis=0) / len(parallel), atol=1e-4)
    assert "logit" in "".join(found.summary())


def test_a_null_makes_thresholds_relative():
    model = words.make()
    parallel = words.known(model)
    other = [row[2] for row in words.inputs(20, seed=9)]
    found = sharing(model, parallel, null=other, null_quantile=0.8, scores=False, n_boot=50)
    limits = np.quantile(np.concatenate([values_of(model, t) for t in other]), 0.8, axis=0)
    classes, _ = classes_of(model, parallel, limits)
    for c, cls in enumerate(CLASSES):
        assert found.share(cls)["share"] == pytest.approx((classes == c).mean())
    assert "above the 80% quantile of its values on unrelated text" in found.rule
    assert found.scores.height == 0
    with pytest.raises(SettingError, match="null_quantile and null texts"):
        sharing(model, parallel, null=other)


def test_plain_text_without_answers_or_head_is_enough():
    model = words.make()
    rows = words.inputs()
    texts = {lang: [r[2] for r in rows if r[1] == lang] for lang in ("xx", "yy")}
    parallel = parallel_texts(texts)
    found = sharing(model, parallel, sites="mlp.2", n_boot=50)
    assert found.sites == ("mlp.2",)
    assert found.scores["effective"].is_nan().all()
    assert found.share("partial-shared")["share"] == 0
    assert any("With two languages" in line for line in found.summary())
    with pytest.raises(SettingError, match="has no answers"):
        deactivate(model, parallel)
    with pytest.raises(SettingError, match=r"hidden\.1 is no mlp site"):
        sharing(model, parallel, sites="hidden.1")
    with pytest.raises(SettingError, match='Did you mean "mean"'):
        sharing(model, parallel, position="meen")  # type: ignore[arg-type]


def test_neurons_of_a_class_and_tasks():
    model = words.make()
    rows = words.inputs(8)
    parallel = make_parallel(
        "two tasks",
        [r[2] for r in rows],
        [r[1] for r in rows],
        group=[r[0] for r in rows],
        task=["a" if int(r[0]) < 5 else "b" for r in rows],
    )
    found = sharing(model, parallel, n_boot=50)
    classes, _ = classes_of(model, parallel)
    assert found.share("specific", task="a")["share"] == pytest.approx((classes[:5] == 2).mean())
    often = np.flatnonzero((classes == 3).mean(axis=0) >= 0.5)
    wanted = [f"mlp.{1 + j // 24}:{j % 24}" for j in often]
    assert found.neurons("non-activated", at_least=0.5) == wanted
    with pytest.raises(SettingError, match='Did you mean "specific"'):
        found.neurons("specifik")


@pytest.mark.parametrize("length", [1, 2])
def test_answers_without_candidates_are_what_the_model_says(length):
    model = words.make()
    parallel = words.known(model, length)
    effect = answer_accuracy(parallel)
    assert effect.measure(model).tolist() == [1.0] * len(parallel)
    wrong = [
        str(a) if i % 2 else f"{' '.join(str(a).split()[:-1])} xx3".strip()
        for i, a in enumerate(parallel.answer)
    ]
    other = make_parallel(
        "half", parallel.input, parallel.language, answer=wrong, place=parallel.place
    )
    expected = [float(w == a) for w, a in zip(wrong, parallel.answer, strict=True)]
    assert answer_accuracy(other).measure(model).tolist() == expected


def test_candidates_are_told_apart_by_log_probability():
    model = words.make()
    rng = np.random.default_rng(0)
    rows = words.inputs(10)
    choices = [["xx1 xx2", "yy5", "zz7 zz1", "xx9"] for _ in rows]
    answers = [each[int(rng.integers(4))] for each in choices]
    parallel = make_parallel(
        "choice", [r[2] for r in rows], [r[1] for r in rows], answer=answers, candidates=choices
    )
    right = []
    for text, answer in zip(parallel.input, parallel.answer, strict=True):
        scores = []
        for choice in choices[0]:
            whole = words.ids(model, f"{text} {choice}")
            with torch.inference_mode():
                logs = model.model(input_ids=whole).logits[0].log_softmax(-1)
            start = len(text.split())
            scores.append(
                sum(float(logs[i - 1, whole[0, i]]) for i in range(start, whole.shape[1]))
            )
        right.append(float(choices[0][int(np.argmax(scores))] == answer))
    assert 0 < sum(right) < len(right)
    assert answer_accuracy(parallel).measure(model).tolist() == right
    assert parallel.chance() >= 0.25
    # One and the same candidate twice: nobody can tell, and each is half right.
    tied = make_parallel("tied", ["xx1", "yy1"], ["xx", "yy"], answer=["xx2", "xx2"])
    assert answer_accuracy(tied).measure(model).max() in (0.0, 1.0)


def accuracy_by_loop(model, parallel, off, tokens):
    """Accuracy of each input with ``off[group]`` at zero, one input at a time."""
    effect = answer_accuracy(parallel)
    found = []
    for i, (text, answer) in enumerate(zip(parallel.input, parallel.answer, strict=True)):
        units = [f"mlp.{1 + j // 24}:{j % 24}" for j in np.flatnonzero(off[i // 3])]
        n = len(text.split())
        # With no start token known, the last word of the input predicts the answer.
        places = None if tokens == "all" else [n - 1]
        with edited(model, Edit.zero(units, positions=places)):
            found.append(float(words.goes_on(model, text) == answer))
    assert len(found) == len(effect)
    return np.array(found)


@pytest.mark.parametrize(("kind", "tokens"), [("gpt2", "answer"), ("llama", "all")])
def test_deactivation_is_that_of_a_loop(kind, tokens):
    model = words.make(kind)
    parallel = words.known(model)
    found = deactivate(model, parallel, tokens=tokens, draws=2, n_boot=100)
    classes, _ = classes_of(model, parallel, kind=kind)
    changes = []
    for c, cls in enumerate(CLASSES):
        right = accuracy_by_loop(model, parallel, classes == c, tokens)
        row = found.at(cls)
        changes.append(row["change"])
        assert row["value"] == pytest.approx(100 * right.mean())
        assert row["neurons"] == pytest.approx((classes == c).sum(axis=1).mean())
        mine = np.array(parallel.language) == "yy"
        assert found.at(cls, "yy")["value"] == pytest.approx(100 * right[mine].mean())
    assert found.base == 100.0
    assert len({round(c, 6) for c in changes}) > 1
    assert found.at(EVERY)["neurons"] == 48


def test_random_sets_are_as_large_in_every_layer(monkeypatch):
    import sys

    module = sys.modules["nissl.methods.deactivate"]
    model = words.make()
    parallel = words.known(model)
    made = []
    plain = module._random

    def spy(patterns, own, pool, seed):
        masks = plain(patterns, own, pool, seed)
        made.append((patterns, own, masks, pool))
        return masks

    monkeypatch.setattr(module, "_random", spy)
    by_pool = {
        pool: deactivate(model, parallel, draws=3, pool=pool, n_boot=20)
        for pool in ("active", "layer")
    }
    assert len(made) == 2 * 4 * 3
    sets = set()
    for patterns, own, masks, pool in made:
        for g in range(patterns.groups):
            for s in (slice(0, 24), slice(24, 48)):
                assert masks(g)[s].sum() == own(g)[s].sum()
                some = patterns.active(g).any(axis=0)[s]
                if pool == "active" and some.sum() >= own(g)[s].sum():
                    assert not (masks(g)[s] & ~some).any()
        sets.add(np.concatenate([masks(g) for g in range(patterns.groups)]).tobytes())
    assert len(sets) > 20  # draws and classes differ
    monkeypatch.undo()
    row = by_pool["layer"].at("all-shared")
    changes = []
    for patterns, _, masks, _ in made[12:15]:
        off = np.stack([masks(g) for g in range(patterns.groups)])
        changes.append(100 * accuracy_by_loop(model, parallel, off, "all").mean() - 100)
    assert row["random"] == pytest.approx(np.mean(changes))
    assert row["sd"] == pytest.approx(np.std(changes, ddof=1))
    assert row["beyond"] == pytest.approx(row["change"] - np.mean(changes))
    assert row["p"] == (1 + sum(c <= row["change"] + 1e-9 for c in changes)) / 4


def test_the_corpus_scope_takes_what_holds_over_inputs():
    model = words.make()
    parallel = words.known(model)
    found = deactivate(model, parallel, scope="corpus", at_least=0.4, draws=2, n_boot=50)
    classes, _ = classes_of(model, parallel)
    often = np.stack([(classes == c).mean(axis=0) for c in range(4)])
    fixed = np.where((often >= 0.4).any(axis=0), often.argmax(axis=0), -1)
    for c, cls in enumerate(CLASSES):
        off = np.repeat((fixed == c)[None], len(parallel.group), axis=0)
        right = accuracy_by_loop(model, parallel, off, "all")
        assert found.at(cls)["value"] == pytest.approx(100 * right.mean())


def test_nothing_is_left_behind():
    model = words.make()
    parallel = words.known(model)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    text = words.ids(model, "xx1 yy2 zz3")
    with torch.inference_mode():
        logits = model.model(input_ids=text).logits.clone()
    deactivate(model, parallel, draws=2, n_boot=20)
    sharing(model, parallel, n_boot=20)
    with torch.inference_mode(), silenced(model, ["mlp.1"]) as silencer:
        silencer.off = {"mlp.1": torch.ones((1, 24), dtype=torch.bool)}
        assert not torch.equal(model.model(input_ids=text).logits, logits)
    with silenced(model, ["mlp.1"]) as silencer:
        silencer.off = {"mlp.1": torch.ones((1, 24), dtype=torch.bool)}
        with pytest.raises(ModelError, match="masks of 1 rows meet a batch of 2"):
            model.model(input_ids=text.repeat(2, 1))
    with torch.inference_mode():
        assert torch.equal(model.model(input_ids=text).logits, logits)
    for name, value in model.model.state_dict().items():
        assert torch.equal(value, before[name])
    for part in model.model.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


def test_the_trap_of_a_task_that_needs_no_neuron():
    model = words.make(scale=0.0)
    found = deactivate(model, words.known(model), draws=2, n_boot=50)
    assert found.base == 100.0
    trap = found.trap()
    assert trap is not None
    assert trap.startswith("The trap: nothing matters here. With every one of the 48 MLP units off")
    assert found.summary()[0] == trap
    # Nothing changes, and nothing changes by chance: every random set does as much.
    assert found.at("all-shared")["p"] == 1.0

    other = words.make()
    task = deactivate(other, words.known(other), draws=2, n_boot=50)
    assert task.at(EVERY)["change"] < -5
    assert task.trap() is None or "by itself" in str(task.trap())


def test_the_trap_of_a_task_that_the_model_does_not_know():
    model = words.make()
    rows = words.inputs()
    parallel = make_parallel(
        "unknown", [r[2] for r in rows], [r[1] for r in rows], answer=["xx1"] * len(rows)
    )
    found = deactivate(model, parallel, draws=2, n_boot=50)
    assert "the model does not know this task" in str(found.trap())


def test_the_trap_of_classes_that_make_up_for_each_other():
    model = words.make()
    found = deactivate(model, words.known(model), draws=2, n_boot=50)
    mild = found.table.with_columns(
        change=pl.when(pl.col("class") == EVERY).then(-60.0).otherwise(-1.0)
    )
    trap = dataclasses.replace(found, table=mild).trap()
    assert "no class matters by itself" in str(trap)


def test_verdicts_say_what_the_numbers_say():
    model = words.make()
    found = deactivate(model, words.known(model), draws=4, n_boot=50)
    names = ("change", "low", "high", "random", "sd", "beyond", "beyond_low", "beyond_high", "p")

    def said(*values):
        row = {name: pl.lit(value) for name, value in zip(names, values, strict=True)}
        table = found.table.with_columns(**row)
        return dataclasses.replace(found, table=table).verdict("all-shared")

    text = said(-60.0, -65.0, -55.0, -10.0, 2.0, -50.0, -55.0, -45.0, 0.2)
    assert "costs 60.0 points [55.0, 65.0]; " in text
    assert text.endswith("cost 10.0 ± 2.0 (4 draws): more than every random set.")
    assert said(-9.0, -12.0, -6.0, -9.0, 2.0, 0.0, -3.0, 3.0, 0.6).endswith("apart from random.")
    assert "which hardly matters" in said(0.0, 0.0, 0.0, -9.0, 2.0, 9.0, 3.0, 12.0, 1.0)
    assert said(0.0, 0.0, 0.0, -9.0, 2.0, 9.0, 3.0, 12.0, 1.0).endswith("less than random.")
    assert "2 of 4 random" in said(-9.0, -12.0, -6.0, -7.0, 2.0, -2.0, -3.0, -1.0, 0.6)


def planted_languages():
    """A model with a unit for each of two languages that raises the logits of its words."""
    model = words.make(languages=("xx", "yy"), scale=0.2)
    inner = copy.deepcopy(model.model)
    block = inner.transformer.h[1].mlp
    spans = {"xx": slice(2, 32), "yy": slice(32, 62)}
    with torch.no_grad():
        inner.transformer.wte.weight[:, :3] = 0
        inner.transformer.wpe.weight[:, :3] = 0
        inner.lm_head.weight[:, :3] = 0
        inner.transformer.h[0].mlp.c_proj.weight[:] = 0
        for each in inner.transformer.h:
            each.attn.c_proj.weight[:] = 0
        # No other unit sees the language; its second column keeps the norm's mean at 0.
        block.c_fc.weight[[0, 15]] = 0
        for sign, (language, place) in zip((1.0, -1.0), spans.items(), strict=True):
            unit = {"xx": 7, "yy": 8}[language]
            inner.transformer.wte.weight[place, 0] = 8 * sign
            inner.transformer.wte.weight[place, 15] = -8 * sign
            block.c_fc.weight[:, unit] = 0
            block.c_fc.weight[0, unit] = sign
            block.c_fc.bias[unit] = 0
            block.c_proj.weight[unit] = 0
            block.c_proj.weight[unit, unit - 6] = 4.0
            inner.lm_head.weight[place, unit - 6] = 2.0
    return words.wrap_model(inner, model.tokenizer, name="planted", head="causal-lm")


def test_planted_language_neurons_are_found_and_matter():
    model = planted_languages()
    rows = words.inputs(40, ("xx", "yy"))
    texts = {lang: [f"{r[2]} {r[2]}" for r in rows if r[1] == lang] for lang in ("xx", "yy")}
    options = {"sites": "mlp.2", "share": 2 / 24, "filter_quantile": 0.5, "assign_quantile": 0.5}
    found = language_neurons(model, texts, draws=5, n_boot=100, **options)
    assert found.of("xx") == ["mlp.2:7"]
    assert found.of("yy") == ["mlp.2:8"]
    table = found.changes()
    assert table[0, 0] > 0.2
    assert table[1, 1] > 0.2
    assert abs(table[0, 1]) < 0.05
    assert abs(table[1, 0]) < 0.05
    for each in ("xx", "yy"):
        row = found.at(each, each)
        assert row["beyond_low"] > 0
        effect = loss_effect(texts[each][1::2])
        assert row["perplexity"] == pytest.approx(perplexity(effect, model))
        with edited(model, Edit.zero(found.of(each))):
            assert row["perplexity_off"] == pytest.approx(perplexity(effect, model))
    assert "2 of 2 sets raise the loss of their own language the most." in found.summary()
    # Probabilities by a loop, over the texts that choose.
    every = np.concatenate([values_of(model, t)[:, 24:] for t in texts["xx"][::2]])
    assert np.allclose(found.probability[:, 0], (every > 0).mean(axis=0))
    assert found.tokens[0] == len(every)
    with pytest.raises(SettingError, match="no language"):
        found.of("zz")


def test_less_harm_than_random_is_said():
    model = planted_languages()
    rows = words.inputs(8, ("xx", "yy"))
    texts = {lang: [r[2] for r in rows if r[1] == lang] for lang in ("xx", "yy")}
    options = {"sites": "mlp.2", "share": 2 / 24, "filter_quantile": 0.5, "assign_quantile": 0.5}
    found = language_neurons(model, texts, draws=2, n_boot=20, **options)
    low, high = pl.lit(-0.3).alias("beyond_low"), pl.lit(-0.1).alias("beyond_high")
    less = dataclasses.replace(found, matrix=found.matrix.with_columns(low, high))
    assert any(line.endswith(": less than random sets.") for line in less.summary())


def test_one_input_has_no_interval():
    model = words.make()
    found = sharing(model, words.known(model).take(1), n_boot=20)
    with pytest.raises(SettingError, match='on task "other"'):
        found.plot(task="other")
    assert np.isnan(found.table["low"].to_numpy()).all()
    assert "nan" not in " ".join(found.summary())
    assert "[" not in found.summary()[0]


def test_values_that_are_no_numbers_are_not_taken_for_neurons_that_are_off():
    model = words.make()
    inner = copy.deepcopy(model.model)
    with torch.no_grad():
        inner.transformer.h[0].mlp.c_fc.bias[3] = float("nan")
    bad = words.wrap_model(inner, model.tokenizer, name="bad", head="causal-lm")
    parallel = words.known(model)
    with pytest.raises(ModelError, match=r"known:\d+: neuron .*:3 is nan at a subword"):
        sharing(bad, parallel)
    texts = {language: ["xx1 xx2"] * 4 for language in ("xx", "yy")}
    with pytest.raises(ModelError, match=r"xx:\d: neuron .*:3 is nan at a subword"):
        language_neurons(bad, texts, check=False)


def test_no_effective_score_where_the_last_subword_does_not_predict_the_answer():
    model = words.make()
    parallel = words.known(model).take(2)
    found = sharing(model, parallel, joint=" xx1 ", n_boot=20)
    assert np.isnan(found.scores["effective"].to_numpy()).all()
    assert "logit" not in " ".join(found.summary())
    assert np.isfinite(sharing(model, parallel, n_boot=20).scores["effective"].to_numpy()).all()


def test_a_quantile_is_said_as_it_is():
    assert "above the 99.5% quantile" in Rule(null_quantile=0.995).said()
    assert "above the 95% quantile" in Rule(null_quantile=0.95).said()


def test_language_neurons_refuse():
    model = words.make(languages=("xx", "yy"))
    with pytest.raises(InputError, match="2 languages or more, not 1"):
        language_neurons(model, {"xx": ["xx1 xx2"] * 8})
    with pytest.raises(InputError, match="3 texts in yy are too few"):
        language_neurons(model, {"xx": ["xx1 xx2"] * 8, "yy": ["yy1 yy2"] * 3})
    with pytest.raises(SettingError, match="test texts are in xx, and the others in xx, yy"):
        language_neurons(
            model, {"xx": ["xx1 xx2"] * 4, "yy": ["yy1 yy2"] * 4}, test={"xx": ["xx1 xx2"]}
        )


def test_results_are_saved_and_drawn(tmp_path):
    model = words.make()
    parallel = words.known(model)
    rows = words.inputs(8)
    texts = {lang: [r[2] for r in rows if r[1] == lang] for lang in words.LANGUAGES}
    for found, kind in (
        (sharing(model, parallel, n_boot=20), LanguageSharing),
        (deactivate_function(model, parallel, draws=2, n_boot=20), Deactivation),
        (language_neurons(model, texts, share=0.1, draws=2, n_boot=20), LanguageNeurons),
        (language_neurons(model, texts, check=False), LanguageNeurons),
    ):
        found.save(tmp_path / "r")
        again = load_result(tmp_path / "r")
        assert isinstance(again, kind)
        assert again.summary() == found.summary()
        assert again.frame().equals(found.frame())
        assert found.plot() is not None
        # The same again: nothing depends on anything but the seed.
    one, two = (deactivate(model, parallel, draws=2, n_boot=20).table for _ in range(2))
    assert one.equals(two)


def test_patterns_do_not_depend_on_the_batch():
    model = words.make()
    parallel = words.known(model)
    whole, _ = find_patterns(model, parallel, "mlp", Rule(), None)
    for g in range(3):
        alone = np.stack([values_of(model, t)[-1] > 0 for t in parallel.input[3 * g : 3 * g + 3]])
        assert np.array_equal(whole.active(g), alone)


GOOD = "input,language,answer,group\nA b,en,c,1\nD e,fr,f,1\nG,en,h,2\nI,fr,j,2\n"


def test_read_tables_and_json(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    found = read_parallel(tmp_path / "a.csv")
    assert found.languages == ("en", "fr")
    assert found.input == ("A b", "D e", "G", "I")
    assert found.answer == ("c", "f", "h", "j")
    assert found.place[2] == f"{tmp_path / 'a.csv'}:4"
    (tmp_path / "a.tsv").write_text(
        'input\tlanguage\tanswer\tcandidates\tother\n"a\nb"\ten\tx\tx|y\t1\nc\tfr\ty\ty|x\t2\n'
    )
    found = read_parallel(tmp_path / "a.tsv")
    assert found.input == ("a\nb", "c")
    assert found.candidates == (("x", "y"), ("y", "x"))
    (tmp_path / "a.jsonl").write_text(
        '{"input": "a", "language": "en", "group": 7, "task": "t"}\n\n'
        '{"input": "b", "language": "fr", "group": 7, "task": "t"}\n'
        '{"input": "c", "language": "fr", "group": 8, "task": "t"}\n'
    )
    found = read_parallel(tmp_path / "a.jsonl")
    assert not found.answered
    assert found.group == ("7",)
    assert found.task == ("t",)
    assert found.left_out == {"inputs that lack a language": 1}
    assert found.frame().height == 2


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("b.csv", GOOD.replace("language", "lang"), r'b.csv:1: has no column "language"'),
        ("b.csv", GOOD.replace("G,en", ",en"), r'b.csv:4: needs "input", a text'),
        ("b.csv", GOOD.replace("G,en,h,2", "G,en,h"), r"b.csv:4: 3 cells in 4 columns"),
        ("b.csv", GOOD.replace("G,en,h,2", "G,en,,2"), r'b.csv:4: "answer" is there in some'),
        (
            "b.csv",
            GOOD.replace("G,en", "G,fr"),
            r"b.csv:5: input 2 is there in fr already, at .*:4",
        ),
        ("b.csv", "input,language\na,en\nb,en\n", r"all inputs are in en; sharing needs 2"),
        ("b.csv", "input,language\na,en\nb,en\nc,fr\n", r"2 in en, 1 in fr; add a column group"),
        ("b.csv", "input,language\n", r"b.csv: holds no input"),
        ("b.csv", 'input,language\n"a,en\n', r"b.csv:2: is no table"),
        ("b.jsonl", '{"input": 3, "language": "en"}', r'b.jsonl:1: needs "input", a text'),
        ("b.jsonl", '\n{"input"', r"b.jsonl:2: not JSON"),
        ("b.jsonl", "[1]", r"b.jsonl:1: must be an object"),
        (
            "b.jsonl",
            '{"input": "a", "language": "en", "answer": "x", "candidates": ["y", "z"]}\n'
            '{"input": "a", "language": "fr", "answer": "x", "candidates": ["x", "z"]}',
            r'b.jsonl:1: the answer "x" is none of the candidates y, z',
        ),
        ("b.csv", "input,language,input\na,en,b\n", r'b.csv:1: has a column "input" twice'),
        (
            "b.jsonl",
            '{"input": "a", "language": "en", "answer": "x", "candidates": ["x", "z"]}\n'
            '{"input": "a", "language": "fr", "answer": "x", "candidates": []}',
            r'b.jsonl:2: "candidates" is there in some rows',
        ),
        (
            "b.csv",
            "input,language,answer,candidates\na,en,x,x|y|x\nb,fr,x,x|y\n",
            r"b.csv:2: a candidate is there twice: x, y, x",
        ),
        ("b.csv", "input,language\na,all\nb,fr\n", r'b.csv:2: a language or task is called "all"'),
        (
            "b.csv",
            "input,language,group,task\na,en,1,t\nb,fr,1,t\na,en,1,all\nb,fr,1,all\n",
            r'b.csv:4: a language or task is called "all"',
        ),
        ("b.txt", "a", r'".txt" is no format of parallel inputs'),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        read_parallel(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_parallel(tmp_path / "absent.csv")


def test_inputs_that_cannot_be_read_are_named():
    model = words.make()
    long = " ".join(["xx1"] * 40)
    parallel = make_parallel("long", ["xx1", long], ["xx", "yy"], answer=["xx1", "xx2"])
    with pytest.raises(InputError, match=r"long:2: has 40 subwords, the model takes 32"):
        sharing(model, parallel)
    with pytest.raises(InputError, match="long:2"):
        deactivate(model, parallel, draws=2)
    short = make_parallel("s", ["xx1", "yy1"], ["xx", "yy"], answer=["xx1", "xx2"])
    for options, says in (
        ({"draws": 1}, "at least 2 random draws"),
        ({"scope": "inputs"}, 'Did you mean "input"'),
        ({"pool": "layers"}, 'Did you mean "layer"'),
        ({"at_least": 0}, "at_least must lie above 0"),
    ):
        with pytest.raises(SettingError, match=says):
            deactivate(model, short, **options)  # type: ignore[arg-type]
