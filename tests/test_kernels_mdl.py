"""Online code against its formula, with scikit-learn as the classifier; selectivity."""

from __future__ import annotations

from itertools import pairwise
from math import log2

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nissl.errors import InputError, SettingError
from nissl.kernels.mdl import PORTIONS, elastic_net_coder, online_code, selectivity


def task(n: int = 1200, d: int = 8, shift: float = 1.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = rng.standard_normal((n, d))
    for c in range(3):
        X[:, c] += shift * (y == c)
    return np.asfortranarray(X, dtype=np.float32), y


def frequencies(X: np.ndarray, y: np.ndarray, n_classes: int):
    """Looks at no neuron: class frequencies with one token added to each."""
    p = (np.bincount(y, minlength=n_classes) + 1) / (len(y) + n_classes)
    return lambda Z: np.tile(np.log(p), (len(Z), 1))


def test_length_by_its_formula_with_scikit_learn():
    X, y = task()
    ends = [120, 300, 600, 1200]
    want = 120 * log2(3)
    for start, stop in pairwise(ends):
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(X[:start], y[:start])
        p = model.predict_proba(X[start:stop])[np.arange(stop - start), y[start:stop]]
        want -= np.log2(p).sum()
    found = online_code(
        X,
        y,
        3,
        elastic_net_coder(ridge=1.0, tol=1e-6),
        portions=(0.1, 0.25, 0.5, 1.0),
        shuffle=False,
        mix=0.0,
    )
    assert found.ends.tolist() == ends
    assert found.bits == pytest.approx(want, rel=1e-4)
    assert found.uniform_bits == pytest.approx(1200 * log2(3))
    assert found.compression == pytest.approx(found.uniform_bits / found.bits)
    assert found.portion_bits.sum() == pytest.approx(found.bits)
    assert found.portion_bits[0] == pytest.approx(120 * log2(3))


def test_easier_to_learn_is_shorter_and_noise_does_not_compress():
    found = [online_code(*task(shift=shift), 3, elastic_net_coder()) for shift in (3.0, 1.5, 0.0)]
    assert found[0].bits < found[1].bits < found[2].bits
    assert found[0].compression > 2
    assert found[2].compression <= 1.0


def test_code_without_neurons_is_the_prequential_code_of_frequencies():
    rng = np.random.default_rng(1)
    y = (rng.random(4000) < 0.1).astype(int)
    X = np.zeros((4000, 1), dtype=np.float32)
    found = online_code(X, y, 2, frequencies)
    entropy = -(0.1 * log2(0.1) + 0.9 * log2(0.9))
    assert found.bits / 4000 == pytest.approx(entropy, rel=0.06)


def test_default_portions_and_short_data():
    assert PORTIONS[-1] == 1
    X, y = task(n=40)
    found = online_code(X, y, 3, frequencies)
    assert (np.diff(found.ends) > 0).all()
    assert found.ends[-1] == 40


def test_label_that_was_thought_impossible_costs_a_bounded_length():
    def certain(X: np.ndarray, y: np.ndarray, n_classes: int):
        return lambda Z: np.tile(np.log([1.0, 1e-300]), (len(Z), 1))

    X = np.zeros((4, 1), dtype=np.float32)
    y = np.array([0, 1, 1, 1])
    found = online_code(X, y, 2, certain, portions=(0.5, 1.0), shuffle=False, mix=1e-4)
    assert found.portion_bits[1] == pytest.approx(2 * -log2(1e-4 / 2), rel=1e-6)
    bare = online_code(X, y, 2, certain, portions=(0.5, 1.0), shuffle=False, mix=0.0)
    assert bare.portion_bits[1] > 1000


def test_one_class_so_far_is_coded_uniformly():
    X = np.zeros((8, 1), dtype=np.float32)
    y = np.array([0, 0, 0, 0, 1, 0, 1, 0])

    def fit(X: np.ndarray, y: np.ndarray, n_classes: int):
        assert len(np.unique(y)) == 2
        return frequencies(X, y, n_classes)

    found = online_code(X, y, 2, fit, portions=(0.25, 0.5, 0.75, 1.0), shuffle=False)
    assert found.portion_bits[:3] == pytest.approx([2, 2, 2])


def test_elastic_net_coder_with_a_class_not_seen_so_far():
    X, y = task(n=60)
    order = np.argsort(y, kind="stable")
    X, y = np.asfortranarray(X[order]), y[order]
    found = online_code(X, y, 3, elastic_net_coder(), portions=(0.5, 1.0), shuffle=False)
    assert np.isfinite(found.bits)
    assert found.portion_bits[1] > 20 * log2(3)  # the third class comes as a surprise


def test_sentences_stay_together_and_seeds_decide_the_order():
    X, y = task(n=200)
    groups = np.arange(200) // 10
    X[:, 0] = groups
    seen = []

    def fit(X: np.ndarray, y: np.ndarray, n_classes: int):
        seen.append(X[:, 0].astype(int))
        return frequencies(X, y, n_classes)

    online_code(X, y, 3, fit, portions=(0.25, 0.5, 1.0), groups=groups, seed=3)
    for known in seen:
        assert set(np.bincount(known, minlength=20)) == {0, 10}
    assert sorted(set(seen[0])) != list(range(5))
    one, two = (online_code(X, y, 3, frequencies, seed=s).bits for s in (1, 2))
    assert one != two
    assert one == online_code(X, y, 3, frequencies, seed=1).bits


def test_selectivity_is_a_difference():
    assert selectivity(0.92, 0.7) == pytest.approx(0.22)
    assert selectivity(0.5, 0.75) == -0.25
    with pytest.raises(SettingError, match="accuracy lies"):
        selectivity(92.0, 0.7)


def test_bad_input_is_named():
    X, y = task(n=30)
    with pytest.raises(SettingError, match="increasing"):
        online_code(X, y, 3, frequencies, portions=(0.5, 0.2, 1.0))
    with pytest.raises(SettingError, match="end at 1"):
        online_code(X, y, 3, frequencies, portions=(0.5, 0.9))
    with pytest.raises(SettingError, match="mix"):
        online_code(X, y, 3, frequencies, mix=1.0)
    with pytest.raises(InputError, match="do not sum to 1"):
        online_code(X, y, 3, lambda X, y, c: lambda Z: np.zeros((len(Z), 3)))
    with pytest.raises(InputError, match="without NaN"):
        online_code(X, y, 3, lambda X, y, c: lambda Z: np.zeros((len(Z), 2)))


def test_mixture_with_the_uniform_code_is_a_code():
    def fit(X: np.ndarray, y: np.ndarray, n_classes: int):
        return lambda Z: np.tile(np.log([0.8, 0.2]), (len(Z), 1))

    X, y = np.zeros((4, 1), dtype=np.float32), np.array([0, 1, 0, 1])
    found = online_code(X, y, 2, fit, portions=(0.5, 1.0), shuffle=False, mix=0.5)
    # Half of .8 and of .2, and a quarter each from the uniform code.
    assert found.portion_bits[1] == pytest.approx(-log2(0.65) - log2(0.35))
