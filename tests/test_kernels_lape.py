"""LAPE: entropies by hand, the selection by a plain loop, and planted languages found again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from nissl.errors import InputError, SettingError
from nissl.kernels.lape import activation_entropy, language_sets


def test_entropy_is_scipys_and_dead_neurons_have_none():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(50, 4))
    p[3] = 0
    p[4] = [0, 0.2, 0, 0]
    p[5] = 0.7
    found = activation_entropy(p)
    rest = np.delete(np.arange(50), 3)
    assert np.allclose(found[rest], entropy(p[rest], axis=1))
    assert math.isnan(found[3])
    assert found[4] == 0
    assert found[5] == pytest.approx(math.log(4))
    with pytest.raises(InputError, match="between 0 and 1"):
        activation_entropy(p * 3)


def by_loops(p, share, filter_quantile, assign_quantile):
    """The paper's steps, neuron by neuron."""
    flat = sorted(p.ravel().tolist())

    def bar(q):
        place = round(q * len(flat))
        return flat[place - 1] if place else 0.0

    able = []
    for j, row in enumerate(p.tolist()):
        if any(x > bar(filter_quantile) for x in row):
            total = sum(row)
            h = -sum(x / total * math.log(x / total) for x in row if x)
            able.append((round(h, 12), j))
    picked = [j for _, j in sorted(able)][: max(1, round(share * len(p)))]
    return picked, [[x > bar(assign_quantile) for x in p[j]] for j in picked]


@pytest.mark.parametrize("settings", [(0.01, 0.95, 0.95), (0.1, 0.5, 0.8), (1.0, 0.0, 0.0)])
def test_selection_by_loops(settings):
    rng = np.random.default_rng(1)
    p = rng.beta(0.4, 1.0, size=(400, 5))
    p[::7] = 0
    picked, whose = by_loops(p, *settings)
    share, filter_quantile, assign_quantile = settings
    found = language_sets(
        p, share=share, filter_quantile=filter_quantile, assign_quantile=assign_quantile
    )
    assert found.chosen.tolist() == picked
    assert found.assigned.tolist() == whose
    assert not np.isin(found.chosen, np.arange(0, 400, 7)).any()  # the dead ones


@pytest.mark.parametrize("seed", range(3))
def test_planted_languages_are_found_exactly(seed):
    rng = np.random.default_rng(seed)
    d, languages, each, tokens = 1500, 4, 12, 3000
    rate = rng.uniform(0.05, 0.45, size=(d, 1)) * rng.uniform(0.8, 1.2, size=(d, languages))
    places = rng.permutation(d)
    own = np.split(places[: languages * each], languages)
    for k, units in enumerate(own):
        rate[units] = 0.01
        rate[units, k] = 0.8
    dead, nearly = places[100:200], places[200:300]
    rate[dead] = 0
    counts = rng.binomial(tokens, rate)
    counts[nearly] = 0
    counts[nearly, seed] = 1  # entropy 0 by one token
    found = language_sets(counts / tokens, share=languages * each / d)
    for k, units in enumerate(own):
        assert found.of(k).tolist() == [j for j in found.chosen if j in set(units.tolist())]
        assert sorted(found.of(k).tolist()) == sorted(units.tolist())
    assert not np.isin(found.chosen, np.concatenate([dead, nearly])).any()
    # Without the filter the accidents come first: it is the filter that keeps them out.
    loose = language_sets(counts / tokens, share=languages * each / d, filter_quantile=0.0)
    assert np.isin(loose.chosen, nearly).all()
    assert not np.isin(loose.chosen, dead).any()


def test_fewer_are_eligible_than_are_asked_for():
    p = np.full((20, 2), 0.1)
    p[:3, 0] = 0.9
    found = language_sets(p, share=0.5, filter_quantile=0.9, assign_quantile=0.9)
    assert found.chosen.tolist() == [0, 1, 2]
    assert found.eligible.sum() == 3
    nothing = language_sets(np.zeros((20, 2)), share=0.5)
    assert len(nothing.chosen) == 0


def test_bad_settings_are_named():
    p = np.full((20, 2), 0.1)
    with pytest.raises(SettingError, match="share must lie above 0"):
        language_sets(p, share=0.0)
    with pytest.raises(SettingError, match="filter_quantile must be 0 or more and below 1, not 1"):
        language_sets(p, filter_quantile=1.0)
    with pytest.raises(SettingError, match="assign_quantile"):
        language_sets(p, assign_quantile=-0.1)
    with pytest.raises(InputError, match="2 languages or more, not 1"):
        language_sets(p[:, :1])
