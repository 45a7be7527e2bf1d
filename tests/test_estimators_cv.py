"""The cross-validated probe: folds, rules of choice, and a loop that does the same by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from nissl.errors import InputError, NotConverged, SettingError
from nissl.estimators import Probe, ProbeCV
from nissl.estimators._choose import choose_pair
from nissl.estimators._folds import make_folds
from nissl.estimators._rows import Labelled


@parametrize_with_checks([ProbeCV(grid=[1e-2, 1e-3], cv=3)])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


GRID = [(3e-1, 1e-3), (3e-2, 3e-2), (1e-2, 3e-3), (1e-3, 1e-3)]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    X = rng.normal(size=(240, 40))
    X[:, :3] += 1.2 * np.eye(3)[y]
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def fitted(data):
    return ProbeCV(GRID, cv=4).fit(*data)


def test_folds_score_what_probes_fitted_on_them_score(data, fitted) -> None:
    X, y = data
    table = fitted.table_
    for k, (train, test) in enumerate(StratifiedKFold(4).split(X, y)):
        for i, pair in enumerate(GRID):
            alone = Probe(*pair).fit(X[train], y[train])
            # Warm starts differ, so a token at a border may.
            assert fitted.cv_scores_[i, k] == pytest.approx(
                alone.score(X[test], y[test]), abs=2.01 / len(test)
            )
    np.testing.assert_allclose(table["accuracy"], fitted.cv_scores_.mean(axis=1))
    np.testing.assert_allclose(table["se"], fitted.cv_scores_.std(axis=1, ddof=1) / 2)
    assert table["converged"].all()
    assert table["neurons"].is_sorted()
    assert table["neurons"][0] == 0


def test_the_best_is_refitted_on_all(data, fitted) -> None:
    X, y = data
    best = int(fitted.cv_scores_.mean(axis=1).argmax())
    assert (fitted.best_l1_, fitted.best_l2_) == GRID[best]
    assert fitted.table_["chosen"].to_list() == [i == best for i in range(4)]
    assert 0 < best < 3
    alone = Probe(*GRID[best]).fit(X, y)
    np.testing.assert_array_equal(fitted.best_probe_.coef_, alone.coef_)
    np.testing.assert_array_equal(fitted.predict_proba(X), alone.predict_proba(X))
    np.testing.assert_array_equal(fitted.best_probe_.predict(X), alone.predict(X))


def test_shared_moments_only_differ_by_the_scale_of_a_fold(data, fitted) -> None:
    X, y = data
    shared = ProbeCV(GRID, cv=4, fold_moments="shared").fit(X, y)
    np.testing.assert_allclose(shared.cv_scores_, fitted.cv_scores_, atol=0.06)
    assert (shared.table_["loss"] - fitted.table_["loss"]).abs().max() < 0.02
    # Without standardising both are the same problem: probes on the tokens of a fold.
    raw = ProbeCV(GRID, cv=4, standardise=False).fit(X, y)
    for k, (train, test) in enumerate(StratifiedKFold(4).split(X, y)):
        alone = Probe(*GRID[2], standardise=False).fit(X[train], y[train])
        assert raw.cv_scores_[2, k] == pytest.approx(
            alone.score(X[test], y[test]), abs=2.01 / len(test)
        )


def test_held_out_tokens_do_not_reach_a_folds_fit(data, fitted) -> None:
    X, y = data
    changed = X.copy()
    test = next(StratifiedKFold(4).split(X, y))[1]
    changed[test] = 1e3 * np.random.default_rng(5).normal(size=(len(test), X.shape[1]))
    other = ProbeCV(GRID, cv=4).fit(changed, y)
    splits = list(StratifiedKFold(4).split(X, y))
    # The fold that holds them out scores chance; it must fit what it fitted before.
    only = ProbeCV(GRID, cv=splits[:1]).fit(X, y)
    spoilt = ProbeCV(GRID, cv=splits[:1]).fit(changed, y)
    assert only.table_["neurons"].to_list() == spoilt.table_["neurons"].to_list()
    assert only.table_["gap"].to_list() == spoilt.table_["gap"].to_list()
    assert other.cv_scores_[2, 0] < fitted.cv_scores_[2, 0] - 0.1


def test_one_standard_error_takes_fewer_neurons(data, fitted) -> None:
    X, y = data
    # Many weak neurons: the more of them, the better, but the last few do little.
    X = (
        X
        + 0.4 * np.random.default_rng(1).normal(size=(3, 40))[np.unique(y, return_inverse=True)[1]]
    )
    grid = np.geomspace(0.1, 2e-3, 6).tolist()
    best = ProbeCV(grid, cv=4).fit(X, y)
    sparse = ProbeCV(grid, cv=4, choose="one-se").fit(X, y)
    np.testing.assert_array_equal(best.cv_scores_, sparse.cv_scores_)
    assert sparse.best_l1_ > best.best_l1_
    table = best.table_.sort("accuracy", descending=True)
    floor = table["accuracy"][0] - table["se"][0]
    near = best.table_.filter(best.table_["accuracy"] >= floor)
    assert sparse.best_l1_ == near["l1"].max()


def test_rules_of_choice_on_scores_written_by_hand() -> None:
    pairs = [(1e-1, 0.0), (1e-2, 1e-3), (1e-2, 1e-2), (1e-3, 0.0)]
    scores = np.array([[0.70, 0.74], [0.80, 0.80], [0.80, 0.80], [0.78, 0.86]])
    # Best 0.82, its standard error 0.04: 0.80 is near, 0.72 is not; of equals the larger λ₂.
    assert choose_pair(scores, pairs, one_se=False) == 3
    assert choose_pair(scores, pairs, one_se=True) == 2
    scores[3] = 0.80
    assert choose_pair(scores, pairs, one_se=False) == 2
    assert choose_pair(scores[:, :1], pairs, one_se=True) == 2


def test_ablation_scores_as_the_paper_does(data) -> None:
    X, y = data
    settings = {"cv": 3, "choose": "ablation", "fraction": 0.1}
    found = ProbeCV(GRID, alpha=0.7, beta=0.3, **settings).fit(X, y)
    table = found.table_
    score = 0.7 * (table["top"] - table["bottom"]) - 0.3 * (
        table["unregularised"] - table["accuracy"]
    )
    np.testing.assert_allclose(table["score"], score)
    assert table["chosen"].arg_max() == score.arg_max()
    # The planted three are among the best four; the worst four say nothing.
    row = table.row(2, named=True)
    assert row["top"] > 0.55
    assert row["bottom"] < 0.45
    assert row["unregularised"] == table["unregularised"][0] > 0.4
    only_beta = ProbeCV(GRID, alpha=0.0, beta=1.0, **settings).fit(X, y)
    assert (only_beta.best_l1_, only_beta.best_l2_) == GRID[int(table["accuracy"].arg_max())]


def test_a_default_grid_is_that_of_the_path(data) -> None:
    found = ProbeCV(3, cv=2).fit(*data)
    assert found.grid_ == list(Probe().path(*data, grid=3).grid)


def test_no_sentence_is_split_and_splitting_would_show() -> None:
    # Each sentence has its own mark and one class: who has seen the sentence knows the answer.
    rng = np.random.default_rng(0)
    sentence = np.arange(40).repeat(6)
    label = rng.integers(0, 2, 40)
    mark = rng.normal(size=(40, 60))
    sentence = rng.permutation(sentence)
    X = mark[sentence] + 0.1 * rng.normal(size=(240, 60))
    y = label[sentence]
    torn = ProbeCV([1e-3], cv=4).fit(X, y)
    whole = ProbeCV([1e-3], cv=4).fit(X, y, groups=sentence)
    assert torn.cv_scores_.mean() > 0.9
    assert whole.cv_scores_.mean() < 0.75
    with pytest.raises(SettingError, match="tears a group apart"):
        ProbeCV([1e-3], cv=list(KFold(5).split(X))).fit(X, y, groups=sentence)
    for train, test in make_folds(4, Labelled(X, y, np.arange(2), None), y, sentence):
        assert not set(sentence[train]) & set(sentence[test])


def test_splitters_lists_and_masks_of_rows_are_the_same_folds(data) -> None:
    X, y = data
    groups = np.arange(240) // 5
    by_number = ProbeCV(GRID[1:3], cv=3).fit(X, y, groups=groups).cv_scores_
    splits = list(GroupKFold(3).split(X, y, groups))
    masks = [tuple(np.isin(np.arange(240), part) for part in pair) for pair in splits]
    for cv in (GroupKFold(3), splits, masks):
        found = ProbeCV(GRID[1:3], cv=cv).fit(X, y, groups=groups).cv_scores_
        np.testing.assert_array_equal(found, by_number)


@pytest.mark.parametrize("moments", ["own", "shared"])
def test_a_token_of_weight_zero_counts_for_nothing(data, moments) -> None:
    X, y = data
    keep = np.random.default_rng(2).random(240) < 0.8
    wild = X.copy()
    wild[~keep] *= 100
    one = ProbeCV(GRID[:3], cv=3, fold_moments=moments).fit(
        wild, y, sample_weight=keep.astype(float)
    )
    two = ProbeCV(GRID[:3], cv=3, fold_moments=moments).fit(X[keep], y[keep])
    if moments == "own":
        np.testing.assert_array_equal(one.cv_scores_, two.cv_scores_)
        np.testing.assert_array_equal(one.coef_, two.coef_)
    else:
        np.testing.assert_allclose(one.cv_scores_, two.cv_scores_, atol=0.04)
    assert one.grid_ == two.grid_


@pytest.mark.parametrize("moments", ["own", "shared"])
def test_a_class_that_a_fold_does_not_train_on(data, moments) -> None:
    X, y = data
    rare = np.where(np.arange(240) < 20, "z", y)
    cv = [(np.arange(20, 240), np.arange(20)), (np.arange(0, 200), np.arange(200, 240))]
    found = ProbeCV([1e-2, 1e-3], cv=cv, fold_moments=moments).fit(X, rare)
    assert found.classes_.tolist() == ["a", "b", "c", "z"]
    assert not found.cv_scores_[:, 0].any()
    assert found.cv_scores_[:, 1].min() > 0.4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"choose": "one_se"}, 'Did you mean "one-se"'),
        ({"fold_moments": "share"}, 'Did you mean "shared"'),
        ({"choose": "ablation", "fraction": 0.7}, "fraction must lie"),
        ({"cv": 500}, "cannot split these tokens"),
        ({"cv": []}, "no folds"),
        ({"cv": [(np.arange(240), np.arange(9))]}, "fold 0 of cv holds out tokens"),
        ({"grid": []}, "empty"),
        ({"tol": -1.0}, "tol"),
    ],
)
def test_impossible_settings_are_refused(data, settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        ProbeCV(**{"grid": GRID[:1], **settings}).fit(*data)


def test_groups_of_another_length_are_refused(data) -> None:
    with pytest.raises(InputError, match="3 groups for 240 tokens"):
        ProbeCV(GRID).fit(*data, groups=np.arange(3))


def test_fits_that_stop_early_warn_once(data) -> None:
    with pytest.warns(NotConverged, match="fits stopped") as caught:
        ProbeCV([1e-3], cv=3, tol=1e-6, time_limit=1e-9).fit(*data)
    assert len(caught) == 1
    assert caught[0].filename == __file__
