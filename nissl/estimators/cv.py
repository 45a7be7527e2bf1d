"""A probe whose penalties are chosen by cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from nissl.errors import SettingError, did_you_mean
from nissl.estimators._choose import check_choice, choose_pair, standard_errors
from nissl.estimators._fold_scores import FoldPath, Solver, run_folds
from nissl.estimators._folds import make_folds
from nissl.estimators._grid import Grid, make_grid
from nissl.estimators._rows import check_inputs, prepare
from nissl.estimators._scores import Decides
from nissl.estimators._settings import check_settings, quiet_kernel, warn_early
from nissl.estimators.linear import Probe
from nissl.kernels.ablation import ablation_score, check_fraction
from nissl.kernels.elastic_net import fit_elastic_net

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ProbeCV"]


class ProbeCV(Decides, ClassifierMixin, BaseEstimator):
    """A :class:`Probe` with (λ₁, λ₂) chosen on held-out tokens, refitted on all.

    Each fold fits the whole grid, every fit starting from a stronger one. Give the sentence of each
    token as ``groups`` to :meth:`fit`: tokens of one sentence are alike, and a fold that trains on
    some and tests on others of them flatters weak penalties.

    Parameters
    ----------
    grid
        A number of points, or a list of pairs (λ₁, λ₂) or of numbers λ₁ = λ₂, as in
        :meth:`Probe.path`. The ends of a default grid come from all tokens.
    choose
        ``"accuracy"``: best mean held-out accuracy; of equals the strongest. ``"one-se"``: the
        strongest within one standard error of the best. ``"ablation"``: best mean of
        α (A_top − A_bottom) − β (A_unregularised − A_λ) on held-out tokens (Durrani et al. 2020,
        section 3.4).
    cv
        A number of folds: by groups where they are given, else stratified by class. Or a splitter
        of scikit-learn, or a list of (training rows, held-out rows).
    alpha, beta, fraction
        Of the ablation score; ``fraction`` of the neurons are kept.
    fold_moments
        ``"own"``: each fold standardises by its own training tokens, exactly as a probe on them
        alone would; one copy of a fold at a time. ``"shared"``: all folds share one matrix
        standardised by all tokens, held-out ones having weight 0. The solver can then work on all
        folds at once, but the scale of each neuron (nothing else) has seen the held-out tokens,
        and λ means a little more or less in each fold.
    tol, max_iter, time_limit, standardise
        As in :class:`Probe`; the time is for the path of each fold (of all folds together where
        they share a matrix), and again for the last fit. Without ``standardise`` folds share the
        matrix, and that is exact.

    Attributes
    ----------
    best_l1_, best_l2_
        The penalties chosen.
    best_probe_
        The :class:`Probe` fitted with them on all tokens.
    grid_
        Pairs (λ₁, λ₂) tried, G of them.
    cv_scores_
        Held-out accuracy, (G, folds).
    table_
        Polars frame, one row a pair: ``l1, l2``; ``accuracy`` and its standard error ``se``;
        ``loss`` (nats); ``neurons`` with a weight; all means over folds. With
        ``choose="ablation"`` also ``top, bottom, unregularised, score``. Then the worst ``gap``,
        ``converged`` (all folds), CPU ``seconds`` of all folds, and ``chosen``.
    classes_, coef_, intercept_, mean_, scale_, constant_, n_iter_
        Of ``best_probe_``.
    """

    def __init__(
        self,
        grid: Grid = 12,
        *,
        choose: Literal["accuracy", "one-se", "ablation"] = "accuracy",
        cv: Any = 5,
        alpha: float = 0.5,
        beta: float = 0.5,
        fraction: float = 0.2,
        fold_moments: Literal["own", "shared"] = "own",
        tol: float = 1e-3,
        max_iter: int = 100,
        time_limit: float | None = None,
        standardise: bool = True,
    ) -> None:
        self.grid = grid
        self.choose = choose
        self.cv = cv
        self.alpha = alpha
        self.beta = beta
        self.fraction = fraction
        self.fold_moments = fold_moments
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.standardise = standardise

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Choose the penalties and fit on all tokens.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`Probe.fit`; held-out accuracies are weighted too.
        groups
            Group of each token, such as its sentence, (n,); none is split between folds.

        Raises
        ------
        InputError, LabelError
            As in :meth:`Probe.fit`; groups of another length.
        SettingError
            A setting outside its range, or a ``cv`` that these tokens cannot be split by.

        Warns
        -----
        NotConverged
            Some fits stopped before their tolerance.
        """
        self._check()
        data = check_inputs(self, X, y, sample_weight)
        folds = make_folds(self.cv, data, y, groups)
        n_classes = len(data.classes)
        # Made again for the last fit: while the folds are fitted, one matrix less is held.
        pairs = make_grid(self.grid, lambda: prepare(data, scale=self.standardise), n_classes)
        solver = Solver(
            self.tol,
            self.max_iter,
            self.time_limit,
            self.fraction if self.choose == "ablation" else None,
        )
        with quiet_kernel():
            paths = run_folds(
                data,
                folds,
                pairs,
                solver,
                scale=self.standardise,
                own=self.fold_moments == "own",
            )
            scores = self._scores(paths)
            best = choose_pair(scores, pairs, one_se=self.choose == "one-se")
            l1, l2 = pairs[best]
            rows = prepare(data, scale=self.standardise)
            final = fit_elastic_net(
                rows.Z,
                rows.code,
                n_classes,
                l1=l1,
                l2=l2,
                sample_weight=rows.weight,
                tol=self.tol,
                max_iter=self.max_iter,
                time_limit=self.time_limit,
            )
        warn_early([final, *(fit for path in paths for fit in path.fits)], self.tol)
        probe = Probe(
            l1,
            l2,
            tol=self.tol,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            standardise=self.standardise,
        )
        seen = {name: value for name, value in vars(self).items() if name.endswith("_in_")}
        vars(probe).update(seen)
        self.best_probe_ = probe._adopt(final, rows, data.classes)
        self.best_l1_, self.best_l2_ = l1, l2
        self.grid_ = pairs
        self.cv_scores_ = np.stack([path.accuracy for path in paths], axis=1)
        self.table_ = self._table(pairs, paths, scores, best)
        for name in ("classes", "coef", "intercept", "mean", "scale", "constant", "n_iter"):
            setattr(self, f"{name}_", getattr(probe, f"{name}_"))
        return self

    def _check(self) -> None:
        check_settings(self)
        check_choice(self.choose)
        if self.fold_moments not in ("own", "shared"):
            raise SettingError(
                f'fold_moments must be "own" or "shared", not "{self.fold_moments}".'
                f"{did_you_mean(str(self.fold_moments), ('own', 'shared'))}"
            )
        if self.choose == "ablation":
            check_fraction(self.fraction)

    def _scores(self, paths: list[FoldPath]) -> np.ndarray:
        """What is maximised, (G, folds)."""
        if self.choose != "ablation":
            return np.stack([path.accuracy for path in paths], axis=1)
        return np.array(
            [
                [
                    ablation_score(one, path.unregularised, alpha=self.alpha, beta=self.beta)
                    for one in path.ablated
                ]
                for path in paths
            ]
        ).T

    def _table(
        self,
        pairs: list[tuple[float, float]],
        paths: list[FoldPath],
        scores: np.ndarray,
        best: int,
    ) -> pl.DataFrame:
        import polars as pl

        errors = standard_errors(self.cv_scores_)
        rows = []
        for i, (l1, l2) in enumerate(pairs):
            fits = [path.fits[i] for path in paths]
            row: dict[str, Any] = {
                "l1": l1,
                "l2": l2,
                "accuracy": float(self.cv_scores_[i].mean()),
                "se": float(errors[i]),
                "loss": float(np.mean([path.loss[i] for path in paths])),
                "neurons": float(np.mean([(fit.coef != 0).any(axis=0).sum() for fit in fits])),
            }
            if self.choose == "ablation":
                row |= {
                    "top": float(np.mean([path.ablated[i].top for path in paths])),
                    "bottom": float(np.mean([path.ablated[i].bottom for path in paths])),
                    "unregularised": float(np.mean([path.unregularised for path in paths])),
                    "score": float(scores[i].mean()),
                }
            row |= {
                "gap": max(float(fit.gap) for fit in fits),
                "converged": all(fit.converged for fit in fits),
                "seconds": float(sum(fit.seconds for fit in fits)),
                "chosen": i == best,
            }
            rows.append(row)
        return pl.DataFrame(rows)
