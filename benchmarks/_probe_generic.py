"""Generic methods for the probe's objective: FISTA, L-BFGS-B on split weights, scikit-learn's saga.

Each gets float32 neurons in the layout that it likes, the intercepts of the class frequencies to
start from where it takes a start, and hands its points to a :class:`~_probe_clock.Recorder`.
"""

from __future__ import annotations

import warnings

import numpy as np
from _probe_clock import Recorder, start_intercept
from _probe_data import Problem

__all__ = ["fista", "lbfgsb", "saga"]


def fista(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """Accelerated proximal gradient (Beck & Teboulle 2009) with backtracking and restart.

    Restarts by the gradient test of O'Donoghue & Candès (2015), and the step is tried 10 % longer
    each time. A step costs one full gradient: logits at the extrapolated point are a combination
    of those at the last two points.
    """
    XT, y = problem.XT, problem.y
    n = len(y)
    W = np.zeros((problem.n_classes, len(XT)), dtype=np.float32)
    b = start_intercept(problem).astype(np.float32)
    clock.go()
    Z = np.repeat(b[:, None], n, axis=1)
    V, c, ZV = W, b, Z
    momentum, step = 1.0, 1.0 / len(XT)
    token = np.arange(n)
    while True:
        loss, P = _loss(ZV, y, token)
        P[y, token] -= 1
        P /= n
        gV, gc = P @ XT.T + np.float32(l2) * V, P.sum(axis=1)
        smooth = loss + 0.5 * l2 * _square(V)
        step *= 1.1
        while True:
            T = V - np.float32(step) * gV
            new = np.sign(T) * np.maximum(np.abs(T) - np.float32(step * l1), 0)
            newb = c - np.float32(step) * gc
            newZ = new @ XT + newb[:, None]
            newloss, _ = _loss(newZ, y, token)
            dW, db = new - V, newb - c
            bound = smooth + float((gV * dW).sum() + gc @ db)
            bound += (_square(dW) + _square(db)) / (2 * step)
            # Losses carry rounding of about 1e-7: a test below it would shrink steps for ever.
            if newloss + 0.5 * l2 * _square(new) <= bound + 2e-7 * abs(smooth):
                break
            step *= 0.5
        if float(((V - new) * (new - W)).sum() + (c - newb) @ (newb - b)) > 0:
            momentum = 1.0
        later = 0.5 * (1 + (1 + 4 * momentum**2) ** 0.5)
        beta = np.float32((momentum - 1) / later)
        V, c, ZV = new + beta * (new - W), newb + beta * (newb - b), newZ + beta * (newZ - Z)
        W, b, Z, momentum = new, newb, newZ, later
        value = newloss + l1 * float(np.abs(W).sum(dtype=np.float64)) + 0.5 * l2 * _square(W)
        clock.check(W, b, value)


def lbfgsb(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """SciPy's L-BFGS-B on W = W⁺ − W⁻ with W⁺, W⁻ ≥ 0, where the absolute values are linear."""
    from scipy.optimize import Bounds, minimize

    XT, y = problem.XT, problem.y
    n, d, C = len(y), len(XT), problem.n_classes
    size, token = C * d, np.arange(n)
    lower = np.concatenate([np.zeros(2 * size), np.full(C, -np.inf)])

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        W = (x[:size] - x[size : 2 * size]).astype(np.float32).reshape(C, d)
        loss, P = _loss(W @ XT + x[2 * size :, None].astype(np.float32), y, token)
        P[y, token] -= 1
        P /= n
        slope = (P @ XT.T + np.float32(l2) * W).ravel()
        out = np.empty_like(x)
        out[:size] = l1 + slope
        out[size : 2 * size] = l1 - slope
        out[2 * size :] = P.sum(axis=1)
        return loss + l1 * float(x[: 2 * size].sum()) + 0.5 * l2 * _square(W), out

    def after(intermediate_result: object) -> None:
        clock.halt()
        x = np.asarray(getattr(intermediate_result, "x"))  # noqa: B009 (scipy has no stubs)
        both = np.minimum(x[:size], x[size : 2 * size]).sum()
        value = float(getattr(intermediate_result, "fun")) - 2 * l1 * float(both)  # noqa: B009
        W = (x[:size] - x[size : 2 * size]).reshape(C, d)
        clock.check(W, x[2 * size :], value)

    x = np.concatenate([np.zeros(2 * size), start_intercept(problem)])
    options = {"maxiter": 10**6, "maxfun": 10**7, "ftol": 0.0, "gtol": 0.0}
    clock.go()
    last = np.inf
    while True:
        done = minimize(
            evaluate,
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(lower, np.inf),  # pyright: ignore[reportArgumentType]
            callback=after,
            options=options,
        )
        # It gives up where rounding spoils a line search: start it again with no memory, until
        # that brings nothing either.
        if not done.fun < last * (1 - 1e-6):
            clock.halt()
            W = (done.x[:size] - done.x[size : 2 * size]).reshape(C, d)
            clock.judge(W, done.x[2 * size :], clock.seconds)
            clock.why = "stalled in rounding"
            return
        x, last = done.x, done.fun


def saga(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """scikit-learn's saga, a pass at a time.

    ``LogisticRegression(solver="saga")`` calls this very function with all passes at once; here
    its memory of gradients is handed back to it, so that passes continue and can be timed.
    """
    from sklearn.linear_model._sag import sag_solver
    from sklearn.utils.extmath import row_norms

    X = np.ascontiguousarray(problem.X)
    y = problem.y.astype(np.float32)
    n, d = X.shape
    clock.go()
    largest = float(row_norms(X, squared=True).max())
    coef = np.zeros((d + 1, problem.n_classes), dtype=np.float32)
    coef[-1] = start_intercept(problem)
    memory = {"coef": coef}
    random = np.random.RandomState(0)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each call ends at its one pass
            _, _, memory = sag_solver(
                X,
                y,
                loss="multinomial",
                alpha=n * l2,
                beta=n * l1,
                max_iter=1,
                tol=0.0,
                check_input=False,
                max_squared_sum=largest,
                random_state=random,
                warm_start_mem=memory,
                is_saga=True,
            )
        clock.check(memory["coef"][:-1].T, memory["coef"][-1])


def _loss(logits: np.ndarray, y: np.ndarray, token: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy, summed in float64, and the probabilities (C, n)."""
    P = logits - logits.max(axis=0)
    own = P[y, token]
    np.exp(P, out=P)
    total = P.sum(axis=0)
    loss = float((np.log(total).astype(np.float64) - own).mean())
    P /= total
    return loss, P


def _square(a: np.ndarray) -> float:
    flat = a.ravel()
    return float(flat @ flat)
