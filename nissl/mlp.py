"""A probe with one hidden layer: what a linear probe misses, and how much it can memorise."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels.checks import check_matrix, check_penalty
from nissl.kernels.fit import log_softmax
from nissl.kernels.problem import token_weights
from nissl.kernels.standardise import moments, standardise

if TYPE_CHECKING:
    import torch

__all__ = ["MLPProbe"]

BLOCK = 4096
"""Tokens at a time when predicting."""

FLOATS = [np.float64, np.float32, np.float16]


class MLPProbe(ClassifierMixin, BaseEstimator):
    """Multinomial classifier softmax(W₂ relu(W₁ z + b₁) + b₂) of standardised neurons z.

    Minimises the weighted mean cross-entropy + (λ₂/2)(‖W₁‖² + ‖W₂‖²) by Adam (Kingma and Ba 2015)
    on shuffled batches, and keeps the weights of the epoch with the least loss on held-out tokens.
    Such a probe is for comparison: with enough hidden units it learns control tasks too, so that
    its accuracy says less about the neurons (Hewitt and Liang 2019); take few units and look at
    selectivity. Unlike :class:`~nissl.estimators.Probe` it has no certificate: it depends on the
    seed.

    The same seed gives the same bits on one machine with one number of threads. The order of tokens
    decides which are held out and come together in a batch, so a token given twice is not quite the
    same as a token of weight 2.

    Parameters
    ----------
    hidden
        Hidden units, 1 or more.
    l2
        Strength λ₂ of the weight decay, 0 or more; biases are free.
    learning_rate
        Of Adam.
    batch
        Tokens in a batch.
    epochs
        Passes over the training tokens at most.
    patience
        Epochs without a better held-out loss after which to stop.
    held_out
        Share of each class's tokens that only decides when to stop, 0 up to but not including 1.
        A class keeps at least one token in training. Where nothing can be held out the training
        loss decides.
    time_limit
        CPU seconds after which the fit stops with what it has; ``None``: no limit.
    standardise
        Whether to subtract each neuron's (weighted) mean and divide by its standard deviation.
    device
        Where torch trains: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. Predictions are made in
        NumPy.
    random_state
        Seed of the start, the shuffles, and the held-out tokens.

    Attributes
    ----------
    classes_
        The classes, sorted, (C,): those with a token of weight above 0.
    coefs_
        W₁ (hidden, d) and W₂ (C, hidden).
    intercepts_
        b₁ (hidden,) and b₂ (C,).
    mean_, scale_, constant_
        Training mean and standard deviation of each neuron, and which never change, (d,).
    losses_
        Loss in nats that decided when to stop, after each epoch, (n_iter_,).
    best_epoch_
        Index into ``losses_`` of the weights that were kept.
    n_iter_, seconds_
        Epochs and CPU seconds.
    converged_
        Whether patience ended the fit; if not, it warned.
    """

    def __init__(
        self,
        hidden: int = 64,
        l2: float = 1e-4,
        *,
        learning_rate: float = 1e-3,
        batch: int = 128,
        epochs: int = 300,
        patience: int = 10,
        held_out: float = 0.1,
        time_limit: float | None = None,
        standardise: bool = True,
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.hidden = hidden
        self.l2 = l2
        self.learning_rate = learning_rate
        self.batch = batch
        self.epochs = epochs
        self.patience = patience
        self.held_out = held_out
        self.time_limit = time_limit
        self.standardise = standardise
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on X (n, d), labels y (n,) and, where given, a weight of each token (n,), 0 or more.

        Raises
        ------
        InputError
            NaN or infinity (the neuron and the token are named), or weights that do not fit.
        LabelError
            Fewer than two classes.
        SettingError
            A setting outside its range, a device that is not there, or steps so long that the loss
            is not finite.

        Warns
        -----
        NotConverged
            The epochs or the time ran out while the loss still fell.
        """
        began = time.process_time()
        device = self._check_settings()
        Z, code, weight = self._prepare(X, y, sample_weight)
        rng = check_random_state(self.random_state)
        train, held = _hold_out(code, self.held_out, rng)
        self._train(Z, code, weight, train, held, int(rng.randint(2**31 - 1)), device, began)
        self.n_iter_ = len(self.losses_)
        self.seconds_ = time.process_time() - began
        if not self.converged_:
            warnings.warn(
                f"the loss still fell after {self.n_iter_} epochs ({self.seconds_:.1f} CPU s); "
                "give more epochs or time, or less patience",
                NotConverged,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits of X (n, d): (n, C), or with two classes second minus first, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return natural logarithms of the probabilities of X (n, d), (n, C)."""
        return log_softmax(self._logits(X).T).T

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of X (n, d), (n, C)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each token of X (n, d), (n,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS, ensure_all_finite=False)
        _check_finite(X)
        (W1, W2), (b1, b2) = self.coefs_, self.intercepts_
        out = np.empty((len(X), len(W2)))
        for start in range(0, len(X), BLOCK):
            part = (X[start : start + BLOCK].astype(np.float64) - self.mean_) / self.scale_
            part[:, self.constant_] = 0.0
            out[start : start + BLOCK] = np.maximum(part @ W1.T + b1, 0.0) @ W2.T + b2
        return out

    def _check_settings(self) -> torch.device:
        for name in ("hidden", "batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be 1 or more, not {getattr(self, name)}")
        check_penalty(l2=float(self.l2))
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SettingError(f"learning_rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.held_out < 1:
            raise SettingError(f"held_out must be 0 or more and below 1, not {self.held_out}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise SettingError(
                f"time_limit must be above 0 seconds, or None, not {self.time_limit}"
            )
        import torch

        try:
            return torch.empty(1, device=self.device).device
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise SettingError(f"no device {self.device!r} to train on: {reason}") from None

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return neurons (m, d), class indices (m,) and weights of mean 1 (m,); set moments."""
        X, y = validate_data(self, X, y, dtype=FLOATS, ensure_all_finite=False)
        _check_finite(X)
        check_classification_targets(y)
        weight = np.ones(len(y)) if sample_weight is None else np.array(sample_weight, dtype=float)
        if weight.size and not weight.any():
            raise InputError("sample weights are all zero; give some token a weight above 0")
        weight = token_weights(weight, len(y))
        if (weight == 0).any():
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, code = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise LabelError("a probe needs two or more classes, and y has one class")
        mean, sd = moments(X, weight=weight)
        self.constant_ = sd == 0
        if not self.standardise:
            self.constant_ = np.zeros(X.shape[1], dtype=bool)
            mean, sd = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.mean_, self.scale_ = mean, np.where(sd > 0, sd, 1.0)
        return standardise(X, mean, sd), code.astype(np.int64), weight * len(weight)

    def _train(
        self,
        Z: np.ndarray,
        code: np.ndarray,
        weight: np.ndarray,
        train: np.ndarray,
        held: np.ndarray,
        seed: int,
        device: torch.device,
        began: float,
    ) -> None:
        """Train; set the weights of the best epoch and the course of the loss."""
        import torch
        from torch.nn.functional import cross_entropy

        # The start and the shuffles are drawn on the CPU, so that they are the same everywhere.
        generator = torch.Generator().manual_seed(seed)
        sizes = [(self.hidden, Z.shape[1]), (len(self.classes_), self.hidden)]
        parameters = []
        for rows, columns in sizes:  # Uniform, for rectifiers: He et al. (2015), section 2.2.
            bound = math.sqrt(6 / columns)
            W = (2 * torch.rand(rows, columns, generator=generator) - 1) * bound
            parameters += [W.to(device), torch.zeros(rows, device=device)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        W1, b1, W2, b2 = parameters
        adam = _Adam(parameters, self.learning_rate)
        data = torch.tensor(Z, device=device)
        labels = torch.tensor(code, device=device)
        weights = torch.tensor(weight, dtype=torch.float32, device=device)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            logits = torch.relu(data[rows] @ W1.T + b1) @ W2.T + b2
            return (weights[rows] * cross_entropy(logits, labels[rows], reduction="none")).sum()

        train_rows = torch.tensor(train)
        judge = torch.tensor(held if len(held) else train, device=device)
        total = float(weights[judge].sum())
        mean_weight = float(weights[train_rows.to(device)].mean())
        losses: list[float] = []
        best, kept = -1, [p.detach().clone() for p in parameters]
        while len(losses) < self.epochs:
            for rows in train_rows[torch.randperm(len(train), generator=generator)].split(
                self.batch
            ):
                value = loss(rows.to(device)) / (len(rows) * mean_weight)
                value = value + 0.5 * self.l2 * ((W1 * W1).sum() + (W2 * W2).sum())
                adam.step(torch.autograd.grad(value, parameters))
            with torch.no_grad():
                losses.append(sum(float(loss(rows)) for rows in judge.split(BLOCK)) / total)
            # A gain of less than a part in ten thousand is not worth another wait.
            if best < 0 or losses[-1] < losses[best] * (1 - 1e-4):
                best, kept = len(losses) - 1, [p.detach().clone() for p in parameters]
            late = self.time_limit is not None and time.process_time() - began > self.time_limit
            if len(losses) - 1 - best >= self.patience or late:
                break
        if not np.isfinite(losses[best]):
            raise SettingError(
                f"the loss is {losses[best]} after the first epoch: give a learning_rate below "
                f"{self.learning_rate}, or standardise"
            )
        self.losses_, self.best_epoch_ = np.array(losses), best
        self.converged_ = len(losses) - 1 - best >= self.patience
        found = [p.cpu().numpy().astype(np.float64) for p in kept]
        self.coefs_, self.intercepts_ = found[::2], found[1::2]


class _Adam:
    """Kingma and Ba (2015), Algorithm 1, with their constants.

    torch's own loads its compiler on first use, which takes longer than most of these fits.
    """

    def __init__(self, parameters: list[torch.Tensor], rate: float) -> None:
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.moments = [(p.detach() * 0, p.detach() * 0) for p in parameters]

    def step(self, gradients: tuple[torch.Tensor, ...]) -> None:
        self.steps += 1
        rate = self.rate / (1 - 0.9**self.steps)
        root = math.sqrt(1 - 0.999**self.steps)
        for p, g, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first.lerp_(g, 0.1)
            second.mul_(0.999).addcmul_(g, g, value=0.001)
            p.data.addcdiv_(first, second.sqrt().div_(root).add_(1e-8), value=-rate)


def _hold_out(
    code: np.ndarray, share: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return training and held-out rows, ``share`` of each class but never all of it."""
    order = rng.permutation(len(code))
    held = []
    for one in range(int(code.max()) + 1):
        rows = order[code[order] == one]
        held.append(rows[: min(round(share * len(rows)), len(rows) - 1)])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(code)), out), out


def _check_finite(X: np.ndarray) -> None:
    """One pass without a mask, which names the neuron and the token; scikit-learn's does not."""
    try:
        check_matrix(X)
    except InputError as error:
        raise InputError(f"X has NaN or infinity: {error.message}") from None
