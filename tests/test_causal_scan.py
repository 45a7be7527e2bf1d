"""The scan on models of the library, and the intervals: each against plain arithmetic."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import tiny_models as tiny
import torch
from test_effects_scores import model_of

from nissl.effects import (
    Effect,
    _score,
    hidden_words,
    loss_effect,
    make_pairs,
    pair_effect,
    start_token,
)
from nissl.errors import InputError, NisslError, SettingError, StoreError
from nissl.methods import causal_scan
from nissl.methods._paired import paired_change
from nissl.methods._scan_items import same_items
from nissl.methods.causal_ablate import ablation_curves
from nissl.methods.causal_scan import scan_neurons
from nissl.methods.causal_sets import neuron_means
from nissl.methods.causal_steer import steer
from nissl.methods.encoded_used import encoded_vs_used
from nissl.model import capture, resolve_sites, run
from nissl.model.edit import Edit, edited

PAIRS = make_pairs(
    "toy",
    ["sat on the mat", "listens", "misunderstanding", "books"],
    ["bark loudly", "misunderstanding", "rain", "listens again"],
    prefix=["The cat", "Dogs bark and the cat", "Unhappily the", "She reads old"],
    condition=["a", "b", "a", "b"],
)


@pytest.mark.parametrize(
    ("kind", "head"), [("gpt2", "causal-lm"), ("llama", "causal-lm"), ("bert", "masked-lm")]
)
@pytest.mark.parametrize("what", ["pairs", "loss"])
def test_a_scan_is_one_edited_pass_a_neuron(kind, head, what):
    model = model_of(kind, head)
    effect = pair_effect(PAIRS) if what == "pairs" else loss_effect(tiny.SENTENCES[:3])
    same = pair_effect(PAIRS, value="margin") if what == "pairs" else effect
    found = scan_neurons(model, effect, ["mlp.2", "hidden.3"], how="zero", joint=())
    base, weights = same.measure(model), same.weights(model)
    rows = {row["neuron"]: row for row in found.frame().iter_rows(named=True)}
    assert len(rows) == tiny.MLP + tiny.WIDTH
    for name in ("mlp.2:0", "mlp.2:39", "hidden.3:7", found.ids(1)[0]):
        with edited(model, Edit.zero(name)):
            want = np.average(same.measure(model) - base, weights=weights)
        assert rows[name]["margin"] == pytest.approx(want, rel=1e-3, abs=2e-5)
    # Loss is better when smaller: what raises it most comes first.
    order = found.frame()["margin"].to_numpy()
    assert (np.diff(order) * (1 if what == "pairs" else -1) >= 0).all()
    assert found.screen_spearman > 0.5


OTHERS = make_pairs(
    "others",
    ["sat on the mat", "books", "rain"],
    ["bark loudly", "rain", "listens"],
    prefix=["Two birds", "The old", "Dogs and"],
)


def test_neurons_tested_on_the_items_that_chose_them_are_said_to_be():
    model = model_of("gpt2", "causal-lm")
    effect, other = pair_effect(PAIRS), loss_effect(tiny.SENTENCES[:2])
    for tests, same in (
        ([effect, other], True),
        ([other, effect], True),
        # Another effect of the same items, or of some of them.
        ([pair_effect(PAIRS), other], True),
        ([pair_effect(PAIRS, value="margin")], True),
        ([pair_effect(PAIRS.where("a"))], True),
        ([pair_effect(OTHERS), other], False),
        ([other, pair_effect(PAIRS)], False),
    ):
        assert same_items(model, effect, tests) is same
    for tests, same in (([pair_effect(PAIRS)], True), ([pair_effect(OTHERS)], False)):
        found = scan_neurons(
            model,
            effect,
            "hidden.3",
            how="zero",
            joint=(2,),
            test_effects=tests,
            draws=2,
            screened=False,
        )
        assert found.same_items is same
        assert any("flatters" in line for line in found.summary()) is same


def test_a_masked_model_knows_the_items_that_chose_too():
    model = model_of("bert", "masked-lm")
    effect = pair_effect(PAIRS)
    assert same_items(model, effect, [pair_effect(PAIRS, whole_words=False)])
    assert not same_items(model, effect, [pair_effect(OTHERS)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"draws": 1}, "2 random draws"),
        ({"joint": (0, 5)}, "at least 1 neuron, not 0"),
        ({"test_effects": [loss_effect(["A cat"]), loss_effect(["Rain"])]}, "loss is there twice"),
        ({"test_effects": [loss_effect(["The cat"]), hidden_words(["Rain"])]}, "masked-lm"),
        ({"how": "mean", "means": {"mlp.2": np.zeros(tiny.MLP)}}, "means lack site mlp.3"),
        ({"how": "mean", "means": dict.fromkeys(("mlp.2", "mlp.3"), np.zeros(3))}, "40 finite"),
        (
            {"how": "mean", "means": dict.fromkeys(("mlp.2", "mlp.3"), np.full(tiny.MLP, np.nan))},
            "40 finite",
        ),
    ],
)
def test_what_the_test_would_refuse_is_said_before_the_scan(options, says, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the scan began")

    monkeypatch.setattr(causal_scan, "scan_batch", never)
    monkeypatch.setattr(causal_scan, "screen_neurons", never)
    with pytest.raises(NisslError, match=says):
        scan_neurons(
            model_of("gpt2", "causal-lm"),
            pair_effect(PAIRS),
            ["mlp.2", "mlp.3"],
            **({"how": "zero"} | options),
        )


def test_pieces_of_other_batches_are_refused(tmp_path, monkeypatch):
    # As when a scan that was begun on a processor goes on on a device that takes larger batches.
    model, effect = model_of("gpt2", "causal-lm"), pair_effect(PAIRS)
    options = {"how": "zero", "joint": (), "screened": False, "folder": tmp_path}
    first = scan_neurons(model, effect, "hidden.3", **options)
    assert scan_neurons(model, effect, "hidden.3", **options).frame().equals(first.frame())
    monkeypatch.setattr(_score, "BATCH_TOKENS", 4)
    with pytest.raises(StoreError, match="other batches"):
        scan_neurons(model, effect, "hidden.3", **options)


def test_equal_harm_favours_no_ranking():
    # No removal changes anything, so that none of a ranking's best neurons matters more.
    model, effect = model_of("gpt2", "causal-lm"), pair_effect(PAIRS)
    found = scan_neurons(model, effect, "hidden.3", how="zero", joint=(), screened=False)
    n = found.table.height
    flat = found.table.with_columns(change=pl.lit(0.0), margin=pl.lit(math.nan))
    flat = dataclasses.replace(found, table=flat)
    ids = flat.frame()["neuron"].to_list()
    turned = encoded_vs_used(flat, {"one": ids, "other": ids[::-1]}, k=n // 2).frame()
    shared = dict(turned.select("ranking", "shared").rows())
    # One set for both: what the first half has of it the other half has not.
    assert shared["one"] + shared["other"] == n // 2
    assert abs(shared["one"] - n / 4) < n / 5
    assert (turned["p"] > 0.05).all()
    with pytest.raises(SettingError, match="at least 1 neuron"):
        encoded_vs_used(flat, {"one": ids}, k=0)


def test_means_of_a_text_longer_than_the_model_takes_are_of_all_of_it():
    model = dataclasses.replace(model_of("gpt2", "causal-lm"), max_length=6)
    text = " ".join(tiny.SENTENCES[:3])
    found = neuron_means(model, ["hidden.0", "hidden.2"], [text])
    ids = model.tokenizer(text)["input_ids"]
    start = [] if (first := start_token(model)) is None else [first]
    room, each, done, begin = 6 - len(start), [], 0, 0
    assert len(ids) > 3 * room
    sites = resolve_sites(model, ["hidden.0", "hidden.2"])
    while done < len(ids):
        part = torch.tensor([start + ids[begin : begin + room]])
        with torch.inference_mode(), capture(model, sites) as seen:
            run(model, part, torch.ones_like(part))
            each.append(seen["hidden.2"][0, len(start) + done - begin :].numpy())
        done = begin + room
        begin = done - room // 2
    every = np.concatenate(each)
    assert len(every) == len(ids)
    np.testing.assert_allclose(found["hidden.2"], every.mean(axis=0), rtol=1e-4, atol=1e-5)


# Intervals -------------------------------------------------------------------------------------


def test_an_interval_is_that_of_the_mean():
    rng = np.random.default_rng(0)
    d = rng.normal(0.4, 1.0, 900)
    found = paired_change(d, np.ones(900), np.arange(900), n_boot=4000)
    assert found.change == pytest.approx(d.mean())
    half = 1.96 * d.std() / 30
    assert found.low == pytest.approx(d.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(d.mean() + half, abs=0.15 * half)
    assert found.sd == 0


def test_clusters_draws_and_weights_widen_it():
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(100), 9)
    d = rng.normal(0, 1, 100)[cluster]
    found = paired_change(d, np.ones(900), cluster, n_boot=4000)
    half = 1.96 * d.std() / 10
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)
    # Draws that differ by much more than items: the interval covers them.
    draws = np.array([[-1.0] * 50, [1.0] * 50])
    found = paired_change(draws, np.ones(50), np.arange(50))
    assert (found.change, found.low, found.high) == (0, -1, 1)
    assert found.sd == pytest.approx(np.sqrt(2))
    # A weight of 3 is three items.
    d, w = rng.normal(0, 1, 40), rng.integers(1, 4, 40).astype(float)
    assert paired_change(d, w, np.arange(40)).change == pytest.approx(np.average(d, weights=w))


def test_what_is_taken_off_is_paired():
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 5, 200)
    found = paired_change(shared + 1, np.ones(200), np.arange(200), minus=np.stack([shared] * 3))
    assert (found.change, found.low, found.high) == (
        pytest.approx(1),
        pytest.approx(1),
        pytest.approx(1),
    )
    with pytest.raises(InputError, match="do not fit"):
        paired_change(shared, np.ones(3), np.arange(200))


def test_one_cluster_has_no_interval():
    for d in (np.array([-1.0]), np.array([[-1.0, -2.0], [-2.0, -4.0]])):
        found = paired_change(d, np.ones(d.shape[-1]), np.zeros(d.shape[-1]))
        assert found.change == pytest.approx(d.mean())
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    model, one = model_of("gpt2", "causal-lm"), make_pairs("one", ["sat"], ["rain"], prefix=["He"])
    order = ["mlp.2:1", "mlp.3:2"]
    found = ablation_curves(model, order, [pair_effect(one)], [1], how="zero", draws=2)
    (line,) = found.summary()
    assert line.endswith("a single group give no interval to tell them apart by.")
    assert "nan" not in line
    pushed = steer(
        model,
        order,
        dict.fromkeys(order, 1.0),
        pair_effect(one),
        loss_effect(["The cat"]),
        k=1,
        doses=[1],
        draws=2,
    )
    (line,) = pushed.summary()
    assert "a single group of items gives no interval" in line
    assert "nan" not in line


class Broken(Effect):
    """A model that gives no numbers once it is edited, as one of half precision may."""

    def measure(self, model):
        broken = any(module._forward_hooks for module in model.model.modules())
        return np.full(len(self), math.nan if broken else 1.0)


def test_what_is_no_number_is_no_finding():
    names = np.array(["a", "b", "c"], dtype=object)
    effect = Broken(name="broken", unit="nats", groups=names, clusters=names)
    model = model_of("gpt2", "causal-lm")
    found = ablation_curves(model, ["mlp.2:1", "mlp.3:2"], [effect], [1], how="zero", draws=4)
    assert math.isnan(found.at("broken", "top", 1)["p"])
    assert found.summary()[0].endswith("some values are no numbers, so the two cannot be compared.")
