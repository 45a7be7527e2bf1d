"""Forward selection against naive loops, scikit-learn and planted truth."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels._forward_probe import SetProbe
from nissl.kernels._forward_swap import exchange_gains, swap_until_settled
from nissl.kernels._forward_sweep import Sweep
from nissl.kernels.dense import fit_dense
from nissl.kernels.forward import forward_linear, forward_selection


def draw(n=300, d=12, n_classes=3, seed=0, informative=3, shift=1.5, mix=0.6):
    """Correlated neurons, of which the first few carry the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d))
    X += mix * X @ rng.standard_normal((d, d)) / np.sqrt(d)
    for j in range(informative):
        X[:, j] += shift * (y == j % n_classes)
    X = (X - X.mean(0)) / X.std(0)
    return np.asfortranarray(X, dtype=np.float32), y


def naive_linear(X, Y, k, l2, weight=None):
    """One ridge fit a candidate (scikit-learn), the best one taken."""
    n = len(X)
    theta = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    chosen, losses = [], []
    for _ in range(k):
        found = []
        for j in range(X.shape[1]):
            if j in chosen:
                continue
            Z = X[:, [*chosen, j]]
            m = Ridge(alpha=max(l2, 1e-12), solver="cholesky").fit(Z, Y, sample_weight=theta)
            R = Y - m.predict(Z).reshape(Y.shape)
            loss = 0.5 * theta @ (R**2).sum(1) + 0.5 * l2 * (m.coef_**2).sum()
            found.append((loss, j))
        loss, j = min(found)
        chosen.append(j)
        losses.append(loss)
    return chosen, losses


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_linear_picks_are_those_of_a_naive_loop(seed, l2):
    X, y = draw(n=80, d=10, seed=seed)
    Y = np.eye(3)[y]
    found = forward_linear(X.astype(np.float64), Y, k_max=6, l2=l2)
    chosen, losses = naive_linear(X.astype(np.float64), Y, 6, l2)
    assert found.order.tolist() == chosen
    assert found.losses[1:] == pytest.approx(losses, rel=1e-9)


def test_linear_with_weights_and_float32():
    X, y = draw(n=120, d=8, seed=5)
    weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float)
    Y = np.column_stack([X[:, 3] * 2 + X[:, 5], np.eye(3)[y][:, 0]]).astype(np.float64)
    found = forward_linear(X, Y, k_max=4, l2=0.01, sample_weight=weight)
    chosen, losses = naive_linear(X.astype(np.float64), Y, 4, 0.01, weight)
    assert found.order.tolist() == chosen
    assert found.losses[1:] == pytest.approx(losses, rel=1e-4)
    # A token of weight 2 is the same as two tokens.
    twice = np.repeat(np.arange(len(y)), weight.astype(int))
    again = forward_linear(np.asfortranarray(X[twice]), Y[twice], k_max=4, l2=0.01)
    assert again.order.tolist() == chosen


def test_linear_offsets_do_not_matter():
    X, y = draw(n=100, d=8, seed=2)
    Y = np.eye(3)[y]
    want = forward_linear(X.astype(np.float64), Y, k_max=5)
    moved = forward_linear(X.astype(np.float64) + 7, Y - 3, k_max=5)
    assert moved.order.tolist() == want.order.tolist()
    assert moved.losses == pytest.approx(want.losses, rel=1e-8)


def test_linear_stops_where_nothing_is_left():
    X, y = draw(n=60, d=3, seed=3, informative=1)
    X = np.asfortranarray(np.column_stack([X, X[:, 0], np.zeros(60)]).astype(np.float32))
    found = forward_linear(X, np.eye(3)[y], k_max=5)
    # Neither the copy nor the constant neuron can be chosen.
    assert len(found.order) == 3
    assert len({0, 3} & set(found.order.tolist())) == 1
    assert 4 not in found.order


def test_linear_refuses():
    X, y = draw(n=30, d=4)
    Y = np.eye(3)[y]
    with pytest.raises(InputError, match="29 rows, but there are 30"):
        forward_linear.__wrapped__(X, Y[1:], k_max=2)
    with pytest.raises(SettingError, match="k_max"):
        forward_linear(X, Y, k_max=0)
    with pytest.raises(SettingError, match="l2"):
        forward_linear(X, Y, k_max=1, l2=-1.0)
    Y[3, 1] = np.nan
    with pytest.raises(InputError, match="token 3"):
        forward_linear(X, Y, k_max=1)


def test_sweep_gain_is_the_schur_complement():
    X, _ = draw(n=200, d=9, seed=1)
    theta = np.full(200, 1 / 200)
    XT = np.ascontiguousarray(X.T.astype(np.float64))
    sweep = Sweep(XT, theta, ridge=0.1)
    A = np.cov(XT, bias=True) + 0.1 * np.eye(9)
    g = np.random.default_rng(0).standard_normal((3, 9))
    work = g.copy()
    for j in (4, 1, 7):
        sweep.add(j, work)
    S, rest = [4, 1, 7], [0, 2, 3, 5, 6, 8]
    inner = np.linalg.inv(A[np.ix_(S, S)])
    spare = np.diag(A[np.ix_(rest, rest)] - A[np.ix_(rest, S)] @ inner @ A[np.ix_(S, rest)])
    left = g[:, rest] - g[:, S] @ inner @ A[np.ix_(S, rest)]
    assert sweep.spare[rest] == pytest.approx(spare, rel=1e-10)
    assert work[:, rest] == pytest.approx(left, rel=1e-9, abs=1e-12)
    assert np.abs(work[:, S]).max() < 1e-12
    s = np.array([0.1, 0.2, 0.05])
    want = 0.5 * (left**2 / (s[:, None] * (spare - 0.1) + 0.3)).sum(0)
    gains = sweep.gains(work, s, 0.3)
    assert gains[rest] == pytest.approx(want, rel=1e-9)
    assert (gains[S] == -1).all()
    sweep.reset([4, 1, 7])
    assert sweep.spare[rest] == pytest.approx(spare, rel=1e-7)


def test_gradient_score_picks_as_published():
    """Largest gradient norm, then a refit to convergence: naive, with scikit-learn's optimum."""
    X, y = draw(n=400, d=10, seed=4)
    l2, n = 0.01, 400
    chosen = []
    for _ in range(5):
        P = np.tile(np.bincount(y, minlength=3) / n, (n, 1))
        if chosen:
            m = LogisticRegression(C=1 / (n * l2), tol=1e-10, max_iter=2000)
            P = m.fit(X[:, chosen], y).predict_proba(X[:, chosen])
        size = np.linalg.norm(X.T @ (P - np.eye(3)[y]), axis=1)
        size[chosen] = -1
        chosen.append(int(size.argmax()))
    found = forward_selection(X, y, 3, k_max=5, l2=l2, score="gradient", tol=1e-5)
    assert found.order[:5].tolist() == chosen
    assert sorted(found.order.tolist()) == list(range(10))
    m = LogisticRegression(C=1 / (n * l2), tol=1e-10, max_iter=2000).fit(X[:, chosen], y)
    logp = m.predict_log_proba(X[:, chosen])[np.arange(n), y]
    want = -logp.mean() + 0.5 * l2 * (m.coef_**2).sum()
    assert found.losses[-1] == pytest.approx(want, rel=1e-4)


def test_curvature_score_is_near_the_true_gain():
    """At an optimum, the score ranks candidates as refits with each of them do."""
    X, y = draw(n=1000, d=14, seed=7, shift=0.8)
    theta = np.full(1000, 1e-3)
    probe = SetProbe(X.T, y, 3, theta, l2=1e-3, room=6, chosen=[0, 9, 11])
    start = probe.refit(tol=1e-6)
    gradient, s = probe.gradient()
    sweep = Sweep(X.T, theta, ridge=1e-3 / s.max())
    sweep.reset(probe.chosen)
    gains = sweep.gains(gradient, s, 1e-3)
    others = [j for j in range(14) if j not in probe.chosen]
    true = []
    for j in others:
        fit = fit_dense(np.asfortranarray(X[:, [0, 9, 11, j]]), y, 3, l2=1e-3, tol=1e-6)
        true.append(start - fit.objective)
    true = np.array(true)
    assert others[int(np.argmax(true))] == int(gains.argmax())
    assert np.corrcoef(gains[others], true)[0, 1] > 0.98
    # C classes count as if all were free, but C − 1 = 2 are: 3/2 of the true gain where curvatures
    # are alike.
    big = true > 0.2 * true.max()
    assert (gains[others][big] / true[big]).min() > 1.1
    assert (gains[others][big] / true[big]).max() < 1.7


@pytest.mark.parametrize("score", ["curvature", "gradient"])
@pytest.mark.parametrize("seed", range(3))
def test_planted_neurons_come_first(score, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 2000)
    X = rng.standard_normal((2000, 96))
    place = rng.permutation(96)[:12]
    for i, j in enumerate(place):
        X[:, j] += (0.8 if i < 6 else -0.8) * (y == i % 4)
    X = np.asfortranarray((X - X.mean(0)) / X.std(0), dtype=np.float32)
    found = forward_selection(X, y, 4, k_max=20, score=score)
    assert set(found.order[:12].tolist()) == set(place.tolist())
    assert sorted(found.order.tolist()) == list(range(96))


def test_a_copy_is_not_added_beside_its_original():
    X, y = draw(n=600, d=10, seed=8)
    X = np.asfortranarray(np.column_stack([X, X[:, :3]]))
    # All at once after the first: only the quadratic model can tell that a copy is spent.
    found = forward_selection(X, y, 3, k_max=6, single=1, growth=10.0)
    assert found.sizes.tolist() == [1, 6]
    first = found.order[:6]
    assert len({int(j) % 10 for j in first}) == 6


def test_exchange_gains_are_those_of_the_quadratic_model():
    """By brute force on the model: solve for every exchange anew."""
    X, y = draw(n=600, d=9, seed=2, shift=1.0)
    theta = np.full(600, 1 / 600)
    probe = SetProbe(X.T, y, 3, theta, l2=0.01, room=4, chosen=[2, 5, 7, 0])
    probe.refit(tol=1e-6)
    G, s = probe.gradient()
    sweep = Sweep(X.T, theta, ridge=0.01 / s.mean())
    net, _ = exchange_gains(probe, sweep)
    A = np.cov(X.T, bias=True) + (0.01 / s.mean()) * np.eye(9)
    S = [2, 5, 7, 0]

    def fall(free, extra):
        # Largest fall of g'δ + ½ s δ'Aδ over moves that end with every neuron outside `free` at 0.
        total = 0.0
        for c in range(3):
            w = np.zeros(9)
            w[S] = probe.W[c]
            stay = [j for j in S if j not in free]
            held = np.zeros(9)
            held[stay] = -w[stay]
            g = np.where(np.isin(np.arange(9), S), 0.0, G[c])
            slope = g + s[c] * A @ held
            H = s[c] * A[np.ix_(free, free)]
            if extra is not None:
                H[-1, -1] += 0.01 - s[c] * 0.01 / s.mean()
            total += 0.5 * slope[free] @ np.linalg.solve(H, slope[free])
            total -= 0.5 * s[c] * held @ A @ held
        return total

    for r, gone in enumerate(S):
        for m in (1, 8):
            free = [*[j for j in S if j != gone], m]
            assert net[r, m] == pytest.approx(fall(free, m), rel=2e-3, abs=1e-6)
    assert np.isneginf(net[:, S]).all()


def test_swaps_reach_the_best_pair():
    """Each of two neurons says little, both together all; a third looks best alone."""
    rng = np.random.default_rng(0)
    n = 1500
    y = rng.integers(0, 2, n)
    noise = 2.0 * rng.standard_normal(n)
    X = rng.standard_normal((n, 6))
    X[:, 0] = noise + 0.9 * (2 * y - 1)
    X[:, 1] = noise - 0.9 * (2 * y - 1)
    X[:, 2] = rng.standard_normal(n) + 0.6 * (2 * y - 1)
    X = np.asfortranarray((X - X.mean(0)) / X.std(0), dtype=np.float32)
    greedy = forward_selection(X, y, 2, k_max=2)
    swapped = forward_selection(X, y, 2, k_max=2, swap_at=(2,))
    assert set(greedy.order[:2].tolist()) != {0, 1}
    assert set(swapped.order[:2].tolist()) == {0, 1}
    assert swapped.losses[-1] < 0.8 * greedy.losses[-1]
    assert swapped.swapped[-1] > 0


def test_swaps_keep_the_fixed_prefix_and_never_harm():
    X, y = draw(n=500, d=30, seed=3, informative=6, shift=0.7)
    theta = np.full(500, 1 / 500)
    bad = [29, 28, 27, 26, 25, 24, 23, 22]
    probe = SetProbe(X.T, y, 3, theta, l2=1e-2, room=8, chosen=bad)
    before = probe.refit(tol=1e-4)
    kept = swap_until_settled(probe, Sweep(X.T, theta, ridge=0.05), fixed=2, tol=1e-4)
    assert probe.chosen[:2] == [29, 28]
    assert len(set(probe.chosen)) == 8
    assert kept > 0
    assert probe.loss < before
    assert len({0, 1, 2, 3, 4, 5} & set(probe.chosen)) >= 4
    # Rows and weights belong to the neurons that the probe names.
    assert np.array_equal(probe.rows[:8], X.T[probe.chosen])
    again = fit_dense(np.asfortranarray(X[:, probe.chosen]), y, 3, l2=1e-2, tol=1e-4)
    assert probe.loss == pytest.approx(again.objective, rel=1e-3)


def test_sizes_of_swaps_are_met_and_stay():
    X, y = draw(n=500, d=40, seed=6, informative=8, shift=0.8)
    found = forward_selection(X, y, 3, k_max=30, single=2, growth=0.5, swap_at=(7, 20))
    assert {7, 20, 30} <= set(found.sizes.tolist())
    assert (np.diff(found.losses) < 0).all()
    short = forward_selection(X, y, 3, k_max=7, single=2, growth=0.5, swap_at=(7,))
    assert set(short.order[:7].tolist()) == set(found.order[:7].tolist())


def test_swaps_on_the_way_do_not_touch_what_is_settled():
    X, y = draw(n=500, d=40, seed=6, informative=10, shift=0.6)
    often = forward_selection(X, y, 3, k_max=20, single=20, swap_at=(5, 20), swap_growth=1.2)
    once = forward_selection(X, y, 3, k_max=5, single=20, swap_at=(5,), swap_growth=1.2)
    assert set(once.order[:5].tolist()) == set(often.order[:5].tolist())
    assert len(set(often.order[:20].tolist())) == 20
    # Beyond the last size nothing is swapped, and without one nothing ever.
    never = forward_selection(X, y, 3, k_max=20, swap_growth=1.2)
    plain = forward_selection(X, y, 3, k_max=20)
    assert np.array_equal(never.order, plain.order)
    assert often.losses[-1] <= plain.losses[-1] * (1 + 1e-3)


def test_two_calls_agree_and_leave_the_input_alone():
    X, y = draw(n=200, d=15)
    before = X.copy()
    one = forward_selection(X, y, 3, k_max=8, swap_at=(4,))
    two = forward_selection(X, y, 3, k_max=8, swap_at=(4,))
    assert np.array_equal(one.order, two.order)
    assert np.array_equal(X, before)


def test_weights_stand_for_repeated_tokens():
    X, y = draw(n=150, d=10, seed=9)
    weight = np.random.default_rng(0).integers(0, 3, 150)
    rows = np.repeat(np.arange(150), weight)
    a = forward_selection(X, y, 3, k_max=5, sample_weight=weight.astype(float), tol=1e-4)
    b = forward_selection(np.asfortranarray(X[rows]), y[rows], 3, k_max=5, tol=1e-4)
    assert a.order[:5].tolist() == b.order[:5].tolist()


def test_constant_neurons_and_empty_classes():
    X, y = draw(n=100, d=5)
    X[:, 2] = 0
    found = forward_selection(X, y, 5, k_max=5)
    assert found.chosen == 4
    assert found.order[-1] == 2


def test_selection_refuses_and_warns():
    X, y = draw(n=60, d=5)
    with pytest.raises(SettingError, match='Did you mean "curvature"'):
        forward_selection(X, y, 3, score="curvatur")
    with pytest.raises(SettingError, match="l2 above 0"):
        forward_selection(X, y, 3, l2=0.0)
    with pytest.raises(SettingError, match="k_max"):
        forward_selection(X, y, 3, k_max=0)
    with pytest.raises(LabelError, match="length"):
        forward_selection.__wrapped__(X, y[1:], 3)
    X[4, 1] = np.inf
    with pytest.raises(InputError, match="neuron 1 is inf at token 4"):
        forward_selection(X, y, 3)
    X[4, 1] = 0
    with pytest.warns(NotConverged, match="refits of forward selection"):
        forward_selection(X, y, 3, k_max=3, tol=1e-14)
