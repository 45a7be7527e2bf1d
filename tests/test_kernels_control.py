"""Control labels: a property of the word alone, drawn from the labels' distribution."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import LabelError
from nissl.kernels.control import control_labels

rng = np.random.default_rng(0)
KEYS = [f"w{i}" for i in rng.integers(0, 3000, 20_000)]
LABELS = rng.choice(["a", "b", "c"], 20_000, p=[0.6, 0.3, 0.1]).tolist()


def test_one_label_a_key_and_the_same_on_every_call():
    found = control_labels(KEYS, LABELS)
    of_key: dict[str, str] = {}
    for key, label in zip(KEYS, found, strict=True):
        assert of_key.setdefault(key, label) == label
    assert np.array_equal(found, control_labels(KEYS, LABELS))


def test_another_seed_draws_other_labels():
    changed = control_labels(KEYS, LABELS, seed=0) != control_labels(KEYS, LABELS, seed=1)
    # Two independent draws differ with probability 1 - (.36 + .09 + .01).
    assert changed.mean() == pytest.approx(0.54, abs=0.04)


def test_keys_are_drawn_from_the_labels_distribution():
    found = dict(zip(KEYS, control_labels(KEYS, LABELS), strict=True))
    share = {c: np.mean([label == c for label in found.values()]) for c in "abc"}
    assert share["a"] == pytest.approx(0.6, abs=0.04)
    assert share["b"] == pytest.approx(0.3, abs=0.04)
    assert share["c"] == pytest.approx(0.1, abs=0.03)


def test_rows_may_come_in_any_order():
    order = np.random.default_rng(1).permutation(len(KEYS))
    moved = control_labels([KEYS[i] for i in order], [LABELS[i] for i in order])
    assert np.array_equal(moved, control_labels(KEYS, LABELS)[order])


def test_labels_do_not_follow_the_property():
    agree = (control_labels(KEYS, LABELS) == np.array(LABELS, dtype=object)).mean()
    assert agree == pytest.approx(0.46, abs=0.04)


def test_tokens_without_label_have_none_and_do_not_count():
    labels = np.array(LABELS, dtype=object)
    labels[::2] = None
    found = control_labels(KEYS, labels)
    assert all(value is None for value in found[::2])
    assert all(value is not None for value in found[1::2])
    half = control_labels(KEYS[1::2], labels[1::2])
    assert np.array_equal(found[1::2], half)


def test_impossible_input_is_refused():
    with pytest.raises(LabelError, match="there are none"):
        control_labels(["a"], [None])
    with pytest.raises(LabelError, match="2 keys for 1 labels"):
        control_labels(["a", "b"], ["x"])
