"""Attribution through a probe: gradient × activation and integrated gradients.

A probe is a list of layers (W, b) with a rectifier between them; one layer is a linear probe. On
the straight way from the baseline to a token, what the first layer gives is linear in how far one
has come. So integrated gradients need two products with the neurons however many steps they take:
the steps are made behind the first layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, SettingError, did_you_mean
from nissl.kernels.checks import check_labels, check_matrix, neuron_major
from nissl.kernels.fit import one_thread

__all__ = ["Attribution", "Layers", "attribute", "attribute_tokens"]

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""Weights (out, in) and biases (out,) of each layer, the first one's input the neurons."""

OUTPUTS = ("logit", "probability", "loss")
METHODS = ("integrated", "gradient")
BLOCK = 2048
"""Tokens at a time."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of each class's tokens to neurons.

    Attributes
    ----------
    mean
        Mean over the class's tokens of each neuron's part in that class's output, (C, d); 0 for a
        class without tokens.
    absolute
        The same of absolute parts, (C, d).
    completeness
        Of each class, the mean over its tokens of |Σ_j part_j − (f(x) − f(baseline))|, (C,). For
        integrated gradients that is the error of the midpoint rule, in units of the output; for
        gradient × activation, how far the output is from linear.
    """

    mean: np.ndarray
    absolute: np.ndarray
    completeness: np.ndarray


def attribute(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    layers: Layers,
    *,
    of: str = "logit",
    method: str = "integrated",
    baseline: Float[np.ndarray, " d"] | None = None,
    steps: int = 32,
) -> Attribution:
    """Attribute each token's own class to neurons, and average over the tokens of each class.

    Parameters
    ----------
    X
        Standardised neurons (n, d), float32 in Fortran order preferred.
    y
        Class of each token, (n,); C is the number of the last layer's outputs.
    layers
        The probe.
    of
        What is attributed: the token's class's ``logit``, its ``probability``, or the ``loss``
        (cross-entropy).
    method
        ``integrated``: (x − x₀)_j times the mean of ∂f/∂x_j on the way from the baseline x₀ to x
        (Sundararajan, Taly & Yan 2017, eq. 1), by the midpoint rule. ``gradient``: (x − x₀)_j times
        ∂f/∂x_j at x (Shrikumar et al. 2017).
    baseline
        x₀, (d,); by default 0, the mean of standardised neurons.
    steps
        Points of the midpoint rule.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, layers that do not fit each other or the neurons, an unknown output or method.
    """
    check_matrix(X)
    probe = _Probe(layers, X.shape[1], of, method, baseline, steps)
    y = check_labels(y, X.shape[0], probe.n_classes)
    XT = neuron_major(X)
    mean = np.zeros((probe.n_classes, len(XT)))
    absolute = np.zeros_like(mean)
    error = np.zeros(probe.n_classes)
    with one_thread():
        for start in range(0, len(y), BLOCK):
            block = y[start : start + BLOCK]
            parts, miss = probe.parts(XT[:, start : start + BLOCK], block)
            member = np.zeros((len(block), probe.n_classes), dtype=np.float32)
            member[np.arange(len(block)), block] = 1
            mean += (parts @ member).T
            absolute += (np.abs(parts, out=parts) @ member).T
            error += np.abs(miss) @ member
    count = np.maximum(np.bincount(y, minlength=probe.n_classes), 1)
    return Attribution(mean / count[:, None], absolute / count[:, None], error / count)


def attribute_tokens(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    layers: Layers,
    *,
    of: str = "logit",
    method: str = "integrated",
    baseline: Float[np.ndarray, " d"] | None = None,
    steps: int = 32,
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Return each token's attributions (n, d), and by how much they fail to add up (n,).

    Class ``y[i]`` is the one whose output is attributed for token i: its true class, or any other.
    The second array is Σ_j part_ij − (f(xᵢ) − f(x₀)). Parameters and errors are those of
    :func:`attribute`.
    """
    check_matrix(X)
    probe = _Probe(layers, X.shape[1], of, method, baseline, steps)
    y = check_labels(y, X.shape[0], probe.n_classes)
    with one_thread():
        parts, miss = probe.parts(neuron_major(X), y)
    return parts.T, miss


class _Probe:
    """Checked layers and settings."""

    def __init__(
        self,
        layers: Layers,
        d: int,
        of: str,
        method: str,
        baseline: np.ndarray | None,
        steps: int,
    ) -> None:
        for name, value, known in (("output", of, OUTPUTS), ("method", method, METHODS)):
            if value not in known:
                raise SettingError(
                    f'there is no {name} "{value}"; choose one of {", ".join(known)}.'
                    f"{did_you_mean(value, known)}"
                )
        if steps < 1:
            raise SettingError(f"steps must be 1 or more, not {steps}")
        if not layers:
            raise InputError("a probe needs one layer or more")
        wide = d
        for i, (W, b) in enumerate(layers):
            if W.ndim != 2 or W.shape[1] != wide or b.shape != (len(W),):
                raise InputError(
                    f"layer {i} has weights {W.shape} and biases {b.shape}, but {wide} inputs"
                )
            wide = len(W)
        self.layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in layers]
        self.first = self.layers[0][0].astype(np.float32)
        self.n_classes, self.of = wide, of
        zero = np.zeros(d) if baseline is None else np.asarray(baseline, dtype=np.float64)
        if zero.shape != (d,) or not np.isfinite(zero).all():
            raise InputError(f"the baseline must be {d} finite numbers, one a neuron")
        self.zero = zero
        # How far along the way the gradient is taken.
        self.alphas = [1.0] if method == "gradient" else ((np.arange(steps) + 0.5) / steps).tolist()

    def parts(self, XT: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return attributions, float32 (d, m), and what they miss of the output's change, (m,)."""
        move = XT - self.zero.astype(np.float32)[:, None]
        W, b = self.layers[0]
        begin = (W @ self.zero + b)[:, None]
        # Products of the neurons are float32; everything behind the first layer is float64.
        way = (self.first @ move).astype(np.float64)
        slope = np.zeros_like(way)
        for alpha in self.alphas:
            slope += self._slope(begin + alpha * way, y)
        slope /= len(self.alphas)
        change = self._value(begin + way, y) - self._value(np.repeat(begin, len(y), axis=1), y)
        parts = self.first.T @ slope.astype(np.float32)
        parts *= move
        return parts, np.einsum("hm,hm->m", slope, way) - change

    def _forward(self, H: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return which units are on in each hidden layer, and the logits (C, m)."""
        on = []
        for W, b in self.layers[1:]:
            on.append(H > 0)
            H = W @ np.maximum(H, 0) + b[:, None]
        return on, H

    def _value(self, H: np.ndarray, y: np.ndarray) -> np.ndarray:
        _, E = self._forward(H)
        own = E[y, np.arange(len(y))]
        if self.of == "logit":
            return own
        top = E.max(axis=0)
        logp = own - top - np.log(np.exp(E - top).sum(axis=0))
        return np.exp(logp) if self.of == "probability" else -logp

    def _slope(self, H: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient of the output by what the first layer gives, (h, m)."""
        on, E = self._forward(H)
        token = np.arange(len(y))
        if self.of == "logit":
            D = np.zeros_like(E)
            D[y, token] = 1
        else:
            D = np.exp(E - E.max(axis=0))
            D /= D.sum(axis=0)
            own = D[y, token].copy()
            if self.of == "probability":
                D *= -own
                D[y, token] += own
            else:
                D[y, token] -= 1
        for (W, _), mask in zip(self.layers[:0:-1], on[::-1], strict=True):
            D = (W.T @ D) * mask
        return D
