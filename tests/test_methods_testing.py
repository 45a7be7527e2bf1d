"""The public testing tools: planted tasks are what they say, check_scorer catches what it says."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.kernels.univariate import f_statistic, mean_difference
from nissl.testing import check_scorer, planted_activations, planted_task


def good(X, y):
    return np.abs(mean_difference(X, y.astype(np.int64), int(y.max()) + 1))


def test_planted_neurons_have_the_roles_they_are_given():
    p = planted_activations(
        n_tokens=4000, n_neurons=50, informative=6, scales=(100.0, 10.0), noisy=3, constant=2,
        copies=4, seed=2,
    )  # fmt: skip
    roles = np.concatenate([p.informative, p.noisy, p.constant, p.copies[:, 0]])
    assert len(set(roles.tolist())) == 15
    sd = p.X.std(axis=0)
    assert (sd[p.constant] < 1e-6).all()
    assert (sd[p.noisy] > 90).all()
    assert sorted(np.round(np.log10(sd[p.informative])).tolist()) == [0, 0, 0, 0, 1, 2]
    f = f_statistic(p.X, p.y.astype(np.int64), 3)
    plain = np.delete(f, np.concatenate([p.informative, p.copies[:, 0]]))
    assert f[p.informative].min() > 10 * plain.max()
    for copy, original in p.copies:
        assert abs(np.corrcoef(p.X[:, copy], p.X[:, original])[0, 1]) > 0.98


def test_words_decide_the_class_only_if_asked():
    told = planted_activations(words=40, word_decides=True, n_classes=4)
    of_word = {w: set(told.y[told.form == w].tolist()) for w in set(told.form.tolist())}
    assert all(len(classes) == 1 for classes in of_word.values())
    free = planted_activations(words=40, n_classes=4)
    common = free.form == "w0"
    assert len(set(free.y[common].tolist())) == 4


def test_splits_are_whole_sentences_and_standardised_on_train():
    task, planted = planted_task(n_tokens=1000, uneven=True, constant=1)
    seen = [set(task.part(s).sentence.tolist()) for s in ("train", "dev", "test")]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert sum(len(task.part(s)) for s in ("train", "dev", "test")) == 1000
    live = ~task.constant
    assert np.abs(task.train.X.mean(axis=0)).max() < 1e-5
    assert task.train.X[:, live].std(axis=0) == pytest.approx(np.ones(live.sum()), abs=1e-4)
    assert np.flatnonzero(task.constant).tolist() == planted.constant.tolist()
    raw = planted.X[task.test.rows]
    want = (raw - task.mean) / np.where(task.sd > 0, task.sd, 1)
    assert np.abs(task.test.X[:, live] - want[:, live]).max() < 1e-4


def test_seed_decides_everything():
    one, two, other = (planted_task(seed=s)[0] for s in (4, 4, 5))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert np.array_equal(one.train.X, two.train.X)


def test_too_many_planted_neurons():
    with pytest.raises(ValueError, match="do not fit in 5"):
        planted_activations(n_neurons=5, informative=4, noisy=2)


def test_check_scorer_accepts_real_scorers():
    check_scorer(good)
    check_scorer(lambda X, y: np.repeat(f_statistic(X, y.astype(np.int64), 3)[None], 3, axis=0))


def changes_input(X, y):
    X[0, 0] += 1
    return good(X, y)


def by_place(X, y):
    return good(X, y) + np.arange(X.shape[1])


_CALLS = iter(range(1000))


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (changes_input, "changes its input"),
        (lambda X, y: good(X, y)[0], "have shape"),
        (lambda X, y: good(X, y).T, "have shape"),
        (lambda X, y: np.log(good(X, y) * 0 - 1), "not all finite"),
        (lambda X, y: good(X, y) + next(_CALLS), "different scores"),
        (by_place, "depends on its place"),
        (lambda X, y: -good(X, y), "carry the classes"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_check_scorer_catches(scorer, words):
    with pytest.raises(AssertionError, match=words):
        check_scorer(scorer)


def test_check_scorer_can_spare_other_kinds_of_neurons():
    check_scorer(lambda X, y: -good(X, y), finds_mean_shift=False)
