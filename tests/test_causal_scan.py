"""The scan on models of the library, and the intervals: each against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny
from test_effects_scores import model_of

from nissl.effects import loss_effect, make_pairs, pair_effect
from nissl.errors import InputError
from nissl.methods._paired import paired_change
from nissl.methods.causal_scan import scan_neurons
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


def test_neurons_tested_on_the_items_that_chose_them_are_said_to_be():
    model = model_of("gpt2", "causal-lm")
    effect, other = pair_effect(PAIRS), loss_effect(tiny.SENTENCES[:2])
    for tests, same in (([effect, other], True), ([pair_effect(PAIRS), other], False)):
        found = scan_neurons(
            model, effect, "hidden.3", how="zero", joint=(2,), test_effects=tests, draws=2
        )
        assert found.same_items is same
        assert any("flatters" in line for line in found.summary()) is same


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
