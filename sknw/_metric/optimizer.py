"""Learning w: the leave-one-out loss of z = x w, its gradient, and the minimisation by L-BFGS-B.

Inputs x are centred and divided by their standard deviations, as are the targets. With leave-one-out weights
P_ij = K(u_ij^2) w_j / D_i, u_ij^2 = ||(x_i - x_j) W||^2, and values m_i pooled with them, the loss is

    L(W, ridge) = sum_i w_i (y_i - m_i)^2 / sum_i w_i,

averaged over outputs, and what is minimised is

    log L + (1 - 1/d) penalty / n (sum_k ||W_k|| + 0.01 sum_k (log ridge_k - mean)^2),

W_k what multiplies feature k, n = sum_i w_i, mean that of the log ridge_k. One number for all features is not
gcv_or_aicc: there is too little to learn for learning too much.

The derivative of L in W is 2 S W, S the scatter matrix of `_sums.scatter` (metric learning for kernel regression:
Weinberger & Tesauro 2007; here also for local lines, other kernels and weights). Local lines learn a ridge for each
feature with it, which can take the slope along a feature out as w_k = 0 takes the feature out of the distance.

Structures are nested: W = c I, diag(w_1, ..., w_d), and d x d matrices. Each starts from the optimum of the one before,
among other starts, so that what is minimised does not rise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from sknw._metric.loss import START_RIDGE, START_W, Loss, MetricFit
from sknw._metric.parametrization import RIDGE_BOUNDS, W_BOUNDS, Parametrization
from sknw._selection.criterion import Criterion
from sknw._selection.grid import bandwidth_grid, local_minima

# A loss below this, in units of the variance of y, is an exact fit: its logarithm has no end, and rounding shows.
EXACT_FIT = 1e-12
# The objective where a policy forbids w: above every other.
INFEASIBLE = 1e6
_SMALLEST_GRADIENT = 1e-7
_N_CORRECTIONS = 20
_REACHED_MAX_ITER = 1  # status of scipy's L-BFGS-B
# Rows of the scan for scalar w, and how many of its minima are starts.
_SCAN_ROWS, _MOST_SCALAR_STARTS = 250, 2
# Rows on which several starts compete, and to which tolerance.
_RACE_ROWS, _RACE_TOLERANCE = 500, 1e-4
# Of the squared deviations of log ridges, beside the sum of the sizes of w.
LOG_RIDGE_VARIANCE_PENALTY = 0.01
# In standardised inputs: at two standard deviations such a feature adds 0.01 to u^2.
_SMALL_W = 0.05


class Progress:
    """Told of the loss after each iteration of all minimisations; once a callback asks to stop, no more are made.

    Parameters
    ----------
    on_iteration : callable
        Returns whether to stop, with the best so far.
    verbose : int
        Whether to print the loss.
    """

    def __init__(self, on_iteration: Callable[[], bool], verbose: int):
        self._on_iteration, self._verbose, self.stopped = on_iteration, verbose, False

    def __call__(self, loss: float, structure: str, n_rows: int) -> None:
        if self._verbose:
            print(f"[AttentionPoolingRegressor] {structure} w, {n_rows} rows: leave-one-out loss {loss:.6g}")
        self.stopped = self._on_iteration()


@dataclass(frozen=True, eq=False)
class MetricOptimizer:
    """Minimisation of the objective from a start.

    Attributes
    ----------
    loss : Loss
    fixed_ridge : ndarray of shape (d,) or None
        None learns it, if there are lines.
    penalty : float
    max_iter : int
        Of one minimisation.
    tol : float
        A minimisation ends when the objective falls by less in an iteration.
    report : Progress
    """

    loss: Loss
    fixed_ridge: np.ndarray | None
    penalty: float
    max_iter: int
    tol: float
    report: Progress

    def minimise(self, w: np.ndarray, ridge: np.ndarray, structure: str) -> MetricFit:
        """The minimum that L-BFGS-B finds from w (d,) or (d, r) and ridge (d,)."""
        ridge = ridge if self.fixed_ridge is None else self.fixed_ridge
        learns_ridge = self.fixed_ridge is None and self.loss.smoother.line is not None
        packing = Parametrization(w.shape, structure, learns_ridge)
        best = MetricFit(w, ridge, np.inf, [np.nan], False)

        def function(theta: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal best
            w_here, ridge_here = packing.unpacked(theta, ridge)
            objective, loss, gradients = self.objective(w_here, ridge_here)
            if objective < best.objective:
                best = replace(best, w=w_here, ridge=ridge_here, objective=objective, path=[*path, loss])
            return objective, packing.gradient(w_here, *gradients)

        path: list[float] = []
        theta = packing.packed(w, ridge)
        function(theta)
        path.append(best.path[-1])
        if self.report.stopped or path[-1] < EXACT_FIT:
            return replace(best, path=path, converged=True)

        def after_iteration(intermediate_result: OptimizeResult) -> None:
            path.append(best.path[-1])
            self.report(path[-1], structure, len(self.loss.rows))
            if self.report.stopped or path[-1] < EXACT_FIT:
                raise StopIteration

        options = {"maxiter": self.max_iter, "ftol": self.tol, "gtol": _SMALLEST_GRADIENT, "maxcor": _N_CORRECTIONS}
        result = minimize(
            function,
            theta,
            jac=True,
            method="L-BFGS-B",
            bounds=packing.bounds,
            callback=after_iteration,
            options=options,
        )
        path[-1] = best.path[-1]  # which a last search along a line may have found
        return replace(best, path=path, converged=result.status != _REACHED_MAX_ITER)

    def objective(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, float, tuple[np.ndarray, np.ndarray]]:
        """The objective, L, and the derivatives of the objective in w and log ridge."""
        loss, w_gradient, ridge_gradient = self.loss(w, ridge)
        if not np.isfinite(loss):
            return INFEASIBLE, loss, (np.zeros_like(w), np.zeros_like(ridge))
        log_slope = 1.0 / loss if loss > EXACT_FIT else 0.0
        sizes = np.abs(w) if w.ndim == 1 else np.linalg.norm(w, axis=1)
        weight = (1.0 - 1.0 / len(w)) * self.penalty / self.loss.sample_weight.sum()
        direction = np.divide(w.T, sizes, out=np.zeros_like(w.T), where=sizes > 0).T
        log_ridge = np.log(np.clip(ridge, *RIDGE_BOUNDS))
        unevenness = log_ridge - log_ridge.mean()
        objective = np.log(max(loss, EXACT_FIT)) + weight * (
            sizes.sum() + LOG_RIDGE_VARIANCE_PENALTY * (unevenness**2).sum()
        )
        ridge_gradient = log_slope * ridge_gradient + 2.0 * weight * LOG_RIDGE_VARIANCE_PENALTY * unevenness
        return float(objective), loss, (log_slope * w_gradient + weight * direction, ridge_gradient)


def learn(learner: MetricOptimizer, structure: str, rank: int, scalar_starts: list[tuple[float, float]]) -> MetricFit:
    """The best minimum from several starts.

    Parameters
    ----------
    learner : MetricOptimizer
    structure : {"scalar", "diagonal", "low_rank", "full"}
    rank : int
        Of "low_rank".
    scalar_starts : list of (w, ridge)
        Candidates for the scalar optimum.
    """
    d = learner.loss.x.shape[1]
    scalars = [(np.full(d, w), np.full(d, ridge)) for w, ridge in scalar_starts]
    if structure == "scalar":
        return multistart(learner, scalars, "scalar")
    scalar = screen_starts(replace(learner, penalty=0.0), scalars, "scalar")
    fixed = [(np.full(d, w), np.full(d, START_RIDGE)) for w in START_W]
    diagonal = multistart(learner, [(scalar.w, scalar.ridge), *fixed], "diagonal")
    if diagonal.objective > learner.objective(scalar.w, scalar.ridge)[0]:
        diagonal = learner.minimise(scalar.w, scalar.ridge, "diagonal")
    if structure == "diagonal":
        return diagonal
    r = d if structure == "full" else rank
    directions = scalar.w[0] * principal_directions(learner.loss, scalar, r)
    strongest = np.sort(np.argsort(diagonal.w)[d - r :])
    starts = [(np.diag(diagonal.w)[:, strongest], diagonal.ridge), (directions, scalar.ridge)]
    matrix = multistart(learner, starts, structure)
    if r == d and matrix.objective > diagonal.objective:
        matrix = learner.minimise(*starts[0], structure)
    return matrix


def multistart(learner: MetricOptimizer, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> MetricFit:
    """The minimum from the start that gets lowest; with many rows on a part of them, then on all from there."""
    winner = screen_starts(learner, starts, structure)
    return winner if len(learner.loss.rows) <= _RACE_ROWS else learner.minimise(winner.w, winner.ridge, structure)


def screen_starts(learner: MetricOptimizer, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> MetricFit:
    """The lowest of the minima from all starts, with many rows on a part of them and roughly."""
    rows = learner.loss.rows
    if len(rows) > _RACE_ROWS:
        part = np.sort(np.random.default_rng(0).choice(rows, _RACE_ROWS, replace=False))
        learner = replace(learner, loss=replace(learner.loss, rows=part), tol=_RACE_TOLERANCE)
    return min((learner.minimise(w, ridge, structure) for w, ridge in starts), key=lambda learned: learned.objective)


def prune_features(learner: MetricOptimizer, learned: MetricFit) -> MetricFit:
    """Features whose w is small switched off, where the objective is no worse without them."""
    useful = learned.w > _SMALL_W if learned.w.ndim == 1 else np.linalg.norm(learned.w, axis=1) > _SMALL_W
    w = (learned.w.T * useful).T
    objective, loss, _ = learner.objective(w, learned.ridge)
    if objective > learned.objective + learner.tol:
        return learned
    return replace(learned, w=w, objective=objective, path=[*learned.path[:-1], loss])


def principal_directions(loss: Loss, scalar: MetricFit, r: int) -> np.ndarray:
    """The r directions along which local lines are steepest, (d, r), as long as their relative root mean square slope.

    The leading eigenvectors of the mean outer product of the slopes (Xia, Tong, Li & Zhu 2002).
    """
    rows = loss.rows[:: -(-len(loss.rows) // _RACE_ROWS)]
    slope = loss.slopes(rows, scalar)
    weights = loss.sample_weight[rows]
    squares, directions = np.linalg.eigh(np.einsum("i,idk,iek->de", weights, slope, slope))
    lengths = np.sqrt(np.maximum(squares[::-1][:r], 0.0))
    return directions[:, ::-1][:, :r] * np.divide(lengths, lengths[0], out=np.ones(r), where=lengths[0] > 0)


def scalar_starts(criterion: Criterion) -> list[tuple[float, float]]:
    """The scalar w = 1 / c, and ridges, at the two lowest local minima of a scan over bandwidths c on some rows."""
    rows = criterion.rows[:: -(-len(criterion.rows) // _SCAN_ROWS)]
    scan = replace(criterion, rows=rows)
    factors = bandwidth_grid(criterion.smoother.keys, criterion.smoother.kernel)[0][::2]
    factors = factors[(1.0 / factors > W_BOUNDS[0]) & (1.0 / factors < W_BOUNDS[1])]
    scores = scan(factors)[0]
    minima = local_minima(scores)
    lowest = factors[minima[np.argsort(scores[minima], kind="stable")][:_MOST_SCALAR_STARTS]]
    return [(1.0 / c, scan.best_ridge(c)) for c in lowest.tolist()] or [(1.0, START_RIDGE)]
