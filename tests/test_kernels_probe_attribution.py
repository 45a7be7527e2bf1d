"""Attribution through probes against captum, automatic differentiation and closed forms."""

import itertools

import numpy as np
import pytest
import torch

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels.probe_attribution import attribute, attribute_tokens

OUTPUTS = ("logit", "probability", "loss")


def draw(n=40, d=6, n_classes=3, hidden=(5,), seed=0):
    rng = np.random.default_rng(seed)
    wide = [d, *hidden, n_classes]
    layers = [
        (rng.standard_normal((b, a)), rng.standard_normal(b)) for a, b in itertools.pairwise(wide)
    ]
    X = np.asfortranarray(rng.standard_normal((n, d)), dtype=np.float32)
    return X, rng.integers(0, n_classes, n), layers, rng.standard_normal(d)


def in_torch(layers, of, y):
    """The probe's output as a function of float64 activations (n, d), (n,)."""
    y = torch.as_tensor(y)

    def run(X):
        H = X
        for i, (W, b) in enumerate(layers):
            H = (H if i == 0 else H.relu()) @ torch.as_tensor(W).T + torch.as_tensor(b)
        # Captum stacks the steps: labels repeat with them.
        own = y.repeat(len(H) // len(y))
        if of == "logit":
            return H.gather(1, own[:, None])[:, 0]
        logp = H.log_softmax(1).gather(1, own[:, None])[:, 0]
        return logp.exp() if of == "probability" else -logp

    return run


@pytest.mark.parametrize("of", OUTPUTS)
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_gradients_are_those_of_autograd(of, hidden):
    X, y, layers, zero = draw(hidden=hidden)
    run = in_torch(layers, of, y)
    Z = torch.as_tensor(X.astype(np.float64)).requires_grad_()
    f = run(Z)
    (g,) = torch.autograd.grad(f.sum(), Z)
    parts, miss = attribute_tokens(X, y, layers, of=of, method="gradient", baseline=zero)
    want = g.numpy() * (X - zero)
    assert parts == pytest.approx(want, rel=2e-5, abs=1e-5)
    base = run(torch.as_tensor(np.repeat(zero[None], len(y), axis=0)))
    assert miss == pytest.approx(want.sum(1) - (f - base).detach().numpy(), abs=2e-5)


@pytest.mark.parametrize("of", OUTPUTS)
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_integrated_gradients_are_means_of_gradients_on_the_way(of, hidden):
    X, y, layers, zero = draw(hidden=hidden, seed=4)
    run, total = in_torch(layers, of, y), 0
    for alpha in (0.1, 0.3, 0.5, 0.7, 0.9):
        Z = torch.as_tensor(zero + alpha * (X.astype(np.float64) - zero)).requires_grad_()
        (g,) = torch.autograd.grad(run(Z).sum(), Z)
        total = total + g.numpy() / 5
    parts, _ = attribute_tokens(X, y, layers, of=of, baseline=zero, steps=5)
    assert parts == pytest.approx(total * (X - zero), rel=2e-5, abs=1e-5)


@pytest.mark.parametrize("of", OUTPUTS)
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_integrated_gradients_are_those_of_captum(of, hidden):
    from captum.attr import IntegratedGradients  # Slow to import: only where it is needed.

    X, y, layers, zero = draw(hidden=hidden, seed=1)
    Z = torch.as_tensor(X.astype(np.float64))
    ig = IntegratedGradients(in_torch(layers, of, y))
    want, delta = ig.attribute(
        Z,
        baselines=torch.as_tensor(zero[None]),
        n_steps=20,
        method="riemann_middle",
        return_convergence_delta=True,
    )
    parts, miss = attribute_tokens(X, y, layers, of=of, baseline=zero, steps=20)
    assert parts == pytest.approx(want.numpy(), rel=2e-5, abs=1e-5)
    assert miss == pytest.approx(delta.numpy(), abs=2e-5)


@pytest.mark.parametrize("method", ["integrated", "gradient"])
def test_closed_form_of_a_linear_logit(method):
    X, y, layers, zero = draw(hidden=())
    W = layers[0][0]
    parts, miss = attribute_tokens(X, y, layers, method=method, baseline=zero, steps=1)
    assert parts == pytest.approx(W[y] * (X - zero), rel=1e-5, abs=1e-6)
    assert np.abs(miss).max() < 1e-6


@pytest.mark.parametrize("of", ["probability", "loss"])
@pytest.mark.parametrize("hidden", [(), (8,)])
def test_the_error_falls_with_the_steps(of, hidden):
    X, y, layers, _ = draw(n=200, hidden=hidden)
    worst = [np.abs(attribute_tokens(X, y, layers, of=of, steps=s)[1]).max() for s in (4, 32, 256)]
    assert worst[0] > 1e-3
    assert worst[1] < 0.3 * worst[0]
    assert worst[2] < 0.3 * worst[1]
    if not hidden:
        # Smooth all along the way: the midpoint rule is of second order.
        assert worst[2] < worst[1] / 30


def test_parts_add_up_to_what_is_returned():
    X, y, layers, zero = draw(seed=3)
    run = in_torch(layers, "loss", y)
    change = run(torch.as_tensor(X.astype(np.float64))) - run(
        torch.as_tensor(np.repeat(zero[None], len(y), axis=0))
    )
    parts, miss = attribute_tokens(X, y, layers, of="loss", baseline=zero, steps=3)
    assert np.abs(miss).max() > 1e-2
    assert parts.sum(1) - change.numpy() == pytest.approx(miss, abs=2e-5)


@pytest.mark.parametrize("of", OUTPUTS)
def test_averages_over_each_class(of, monkeypatch):
    X, y, layers, zero = draw(n=50, n_classes=4, seed=2)
    y[y == 3] = 1
    parts, miss = attribute_tokens(X, y, layers, of=of, baseline=zero)
    # Several blocks of tokens, the last one short.
    monkeypatch.setattr("nissl.kernels.probe_attribution.BLOCK", 16)
    found = attribute(X, y, layers, of=of, baseline=zero)
    for c in range(3):
        assert found.mean[c] == pytest.approx(parts[y == c].mean(0), abs=1e-5)
        assert found.absolute[c] == pytest.approx(np.abs(parts[y == c]).mean(0), abs=1e-5)
        assert found.completeness[c] == pytest.approx(np.abs(miss[y == c]).mean(), abs=1e-6)
    assert not found.mean[3].any()
    assert not found.absolute[3].any()


def test_planted_neurons_matter_most():
    """A linear probe that uses two neurons for class 1: all parts are theirs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.standard_normal((400, 10)).astype(np.float32)
    X[:, [3, 7]] += 2 * (2 * y[:, None] - 1)
    W = np.zeros((2, 10))
    W[1, [3, 7]] = 1.0
    W[1, 5] = 0.05
    found = attribute(np.asfortranarray(X), y, [(W, np.zeros(2))], of="loss")
    for c in (0, 1):
        assert set(np.argsort(-found.absolute[c])[:2].tolist()) == {3, 7}
        # They lower the loss of their class.
        assert (found.mean[c, [3, 7]] < 0).all()
        assert not found.absolute[c, [0, 1, 2, 4]].any()


def test_refuses():
    X, y, layers, _ = draw()
    with pytest.raises(SettingError, match='Did you mean "logit"'):
        attribute(X, y, layers, of="logits")
    with pytest.raises(SettingError, match='no method "integral"'):
        attribute(X, y, layers, method="integral")
    with pytest.raises(SettingError, match="steps"):
        attribute(X, y, layers, steps=0)
    with pytest.raises(InputError, match="layer 1 has weights"):
        attribute(X, y, [layers[0], (layers[1][0][:, :4], layers[1][1])])
    with pytest.raises(InputError, match="one layer or more"):
        attribute(X, y, [])
    with pytest.raises(InputError, match="the baseline must be 6"):
        attribute.__wrapped__(X, y, layers, baseline=np.zeros(3))
    with pytest.raises(LabelError, match="outside 0…2"):
        attribute(X, y + 1, layers)
    X[0, 0] = np.nan
    with pytest.raises(InputError, match="neuron 0 is nan"):
        attribute(X, y, layers)
