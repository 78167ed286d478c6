"""Learning w: the leave-one-out loss of z = x w, its gradient, and the minimisation by L-BFGS-B.

Inputs x are centred and divided by their standard deviations, as are the targets. With leave-one-out weights
P_ij = K(u_ij^2) w_j / D_i, u_ij^2 = ||(x_i - x_j) W||^2, and values m_i pooled with them, the loss is

    L(W, ridge) = sum_i w_i (y_i - m_i)^2 / sum_i w_i,

averaged over outputs, and what is minimised is

    log L + (1 - 1/d) penalty / n (sum_k ||W_k|| + 0.01 sum_k (log ridge_k - mean)^2),

W_k what multiplies feature k, n = sum_i w_i, mean that of the log ridge_k. One number for all features is not
penalised: there is too little to learn for learning too much.

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

from sknw._criterion import Criterion
from sknw._pooling import LOSS_IN_SEARCH, Line, Queries, Smoother, coordinates, weighted_means
from sknw._scan_grid import local_minima, scan_grid
from sknw._sums import kernel_sums
from sknw._sums.scatter import Pull, scatter
from sknw._training import TrainingSet

STRUCTURES = ("scalar", "diagonal", "low_rank", "full")

# What scalar and diagonal w may be, in standardised inputs; the smallest is as good as zero.
_W_BOUNDS = (1e-3, 1e4)
_RIDGE_BOUNDS = (1e-8, 1e3)
# A loss below this, in units of the variance of y, is an exact fit: its logarithm has no end, and rounding shows.
_EXACT = 1e-12
# The objective where a policy forbids w: above every other.
_NO_LOSS = 1e6
_SMALLEST_GRADIENT = 1e-7
_N_CORRECTIONS = 20
_REACHED_MAX_ITER = 1  # status of scipy's L-BFGS-B
# Starts besides the scalar optimum: every w, every ridge.
_FIXED_STARTS, _FIXED_RIDGE = (0.3, 1.0), 0.1
# Rows of the scan for scalar w, and how many of its minima are starts.
_SCAN_ROWS, _MOST_SCALAR_STARTS = 250, 2
# Rows on which several starts compete, and to which tolerance.
_RACE_ROWS, _RACE_TOLERANCE = 500, 1e-4
# Of the squared deviations of log ridges, beside the sum of the sizes of w.
_UNEVENNESS = 0.01
# In standardised inputs: at two standard deviations such a feature adds 0.01 to u^2.
_SMALL_W = 0.05


@dataclass(frozen=True, eq=False)
class Loss:
    """The leave-one-out loss as a function of W, (d,) or (d, r), and of the ridge.

    Attributes
    ----------
    smoother : Smoother
        Of the training set with standardised inputs, its keys; w, keys and ridge are replaced.
    training : TrainingSet
    rows : ndarray of int
        The rows it is averaged over.
    """

    smoother: Smoother
    training: TrainingSet
    rows: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """Standardised inputs (n, d)."""
        return self.smoother.keys

    @property
    def sample_weight(self) -> np.ndarray:
        return self.training.sample_weight

    def __call__(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss, its derivatives in w and in log ridge (d,)."""
        smoother, weights = self._at(w, ridge), self.sample_weight[self.rows]
        d = self.x.shape[1]
        loss, s, ridge_gradient = 0.0, np.zeros((d, d)), np.zeros(d)
        for part in smoother.parts(len(self.rows)):
            rows = self.rows[part]
            queries = smoother.left_out(rows, weights[part])
            pooled = _Means(smoother, queries) if smoother.line is None else _Lines(smoother, queries, ridge)
            residuals = smoother.values[rows] - pooled.values
            share = weights[part] / (weights.sum() * residuals.shape[1])
            loss += float(share @ (residuals**2).sum(axis=1))
            g = -2.0 * share[:, np.newaxis] * residuals  # dL / dm
            g[pooled.unsupported] = 0.0  # what a query without support gets does not change with w
            pull, ridge_part = pooled.pull(g)
            s += scatter(smoother.problem(queries), self.x[rows], self.x, pull, smoother.algorithm != "dense")
            ridge_gradient += ridge_part
        return loss, 2.0 * (np.diagonal(s) * w if w.ndim == 1 else s @ w), ridge_gradient

    def slopes(self, rows: np.ndarray, learned: Learned) -> np.ndarray:
        """The slopes of leave-one-out local lines at some rows: (len(rows), d, k)."""
        ridge = np.maximum(learned.ridge, _FIXED_RIDGE)
        line = Line(self.x, np.ones(self.x.shape[1]), _FIXED_RIDGE)
        smoother = replace(self._at(learned.w, ridge), line=line)
        return _Lines(smoother, smoother.left_out(rows, self.sample_weight[rows]), ridge).slope

    def _at(self, w: np.ndarray, ridge: np.ndarray) -> Smoother:
        # z as predictions compute it: whether a key is in a compact support may hang by a rounding
        w = self.training.in_units_of_x(w)
        keys = coordinates(self.training.X, self.training.center, w)
        line = self.smoother.line
        least = float(ridge.min())  # decides where digits are lost
        return replace(self.smoother, w=w, keys=keys, line=None if line is None else replace(line, ridge=least))


class Report:
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


class _Means:
    """Weighted means at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries):
        problem = smoother.problem(queries)
        means, log_mass, unsupported = weighted_means(kernel_sums(problem, smoother.algorithm))
        self.values, self.unsupported = smoother.with_substitutes(problem, means, unsupported)[0], unsupported[0]
        self.log_mass, self.d = log_mass[0], smoother.center.size

    def pull(self, g: np.ndarray) -> tuple[Pull, np.ndarray]:
        """g'(y_j - m_i), and 0, the derivative in the ridge, which is not used."""
        nothing = np.zeros((len(g), self.d))
        p = np.column_stack([np.ones(len(g)), nothing])
        e = np.column_stack([np.einsum("ik,ik->i", g, self.values), nothing])
        return Pull(p, g, e, np.zeros(len(g)), self.log_mass), np.zeros(self.d)


class _Lines:
    """Local lines at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries, ridge: np.ndarray):
        self.moments, unsupported = smoother.local_moments(queries, largest_loss=LOSS_IN_SEARCH)
        self.ridge = ridge
        self.u, self.slope = (array[0] for array in self.moments.pull_and_slope(queries.x, self.ridge))
        values = self.moments.y_mean + np.einsum("id,bidk->bik", self.u, self.moments.xy)
        self.values = smoother.with_substitutes(smoother.problem(queries), values, unsupported)[0]
        self.unsupported = unsupported[0]

    def pull(self, g: np.ndarray) -> tuple[Pull, np.ndarray]:
        """(1 + u'(x_j - x_mean)) g'(y_j - y_mean - b'(x_j - x_mean)) - u' ridge b g, and dm / d(log ridge) g.

        The latter are -u_k ridge_k (b g)_k.
        """
        x_mean, y_mean = self.moments.x_mean[0], self.moments.y_mean[0]
        slope = np.einsum("idk,ik->id", self.slope, g)
        p = np.column_stack([1.0 - np.einsum("id,id->i", self.u, x_mean), self.u])
        e = np.column_stack([np.einsum("ik,ik->i", g, y_mean) - np.einsum("id,id->i", slope, x_mean), slope])
        along = self.u * self.ridge * slope
        return Pull(p, g, e, along.sum(axis=1), self.moments.log_mass[0]), -along.sum(axis=0)


@dataclass(frozen=True, eq=False)
class Learned:
    """A minimum of the objective.

    Attributes
    ----------
    w : ndarray of shape (d,) or (d, r)
        In units of standardised inputs.
    ridge : ndarray of shape (d,)
    objective : float
    path : list of float
        L at the start and after each iteration.
    converged : bool
    """

    w: np.ndarray
    ridge: np.ndarray
    objective: float
    path: list[float]
    converged: bool


@dataclass(frozen=True, eq=False)
class Learner:
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
    report : Report
    """

    loss: Loss
    fixed_ridge: np.ndarray | None
    penalty: float
    max_iter: int
    tol: float
    report: Report

    def minimise(self, w: np.ndarray, ridge: np.ndarray, structure: str) -> Learned:
        """The minimum that L-BFGS-B finds from w (d,) or (d, r) and ridge (d,)."""
        ridge = ridge if self.fixed_ridge is None else self.fixed_ridge
        learns_ridge = self.fixed_ridge is None and self.loss.smoother.line is not None
        packing = _Packing(w.shape, structure, learns_ridge)
        best = Learned(w, ridge, np.inf, [np.nan], False)

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
        if self.report.stopped or path[-1] < _EXACT:
            return replace(best, path=path, converged=True)

        def after_iteration(intermediate_result: OptimizeResult) -> None:
            path.append(best.path[-1])
            self.report(path[-1], structure, len(self.loss.rows))
            if self.report.stopped or path[-1] < _EXACT:
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
            return _NO_LOSS, loss, (np.zeros_like(w), np.zeros_like(ridge))
        log_slope = 1.0 / loss if loss > _EXACT else 0.0
        sizes = np.abs(w) if w.ndim == 1 else np.linalg.norm(w, axis=1)
        weight = (1.0 - 1.0 / len(w)) * self.penalty / self.loss.sample_weight.sum()
        direction = np.divide(w.T, sizes, out=np.zeros_like(w.T), where=sizes > 0).T
        log_ridge = np.log(np.clip(ridge, *_RIDGE_BOUNDS))
        unevenness = log_ridge - log_ridge.mean()
        objective = np.log(max(loss, _EXACT)) + weight * (sizes.sum() + _UNEVENNESS * (unevenness**2).sum())
        ridge_gradient = log_slope * ridge_gradient + 2.0 * weight * _UNEVENNESS * unevenness
        return float(objective), loss, (log_slope * w_gradient + weight * direction, ridge_gradient)


class _Packing:
    """W and the ridge as the vector that is minimised over: log w of scalar and diagonal, W of matrices; log ridge."""

    def __init__(self, shape: tuple[int, ...], structure: str, with_ridge: bool):
        self.shape, self.structure, self.with_ridge = shape, structure, with_ridge
        self.n_w = 1 if structure == "scalar" else int(np.prod(shape))
        self.n_ridge = 0 if not with_ridge else 1 if structure == "scalar" else shape[0]
        self.in_logs = len(shape) == 1
        w_bounds = tuple(np.log(_W_BOUNDS).tolist()) if self.in_logs else (None, None)
        self.bounds = [w_bounds] * self.n_w + [tuple(np.log(_RIDGE_BOUNDS).tolist())] * self.n_ridge

    def packed(self, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        w = np.log(np.clip(np.abs(w), *_W_BOUNDS)) if self.in_logs else w.ravel()
        return np.append(w[: self.n_w], np.log(np.clip(ridge[: self.n_ridge], *_RIDGE_BOUNDS)))

    def unpacked(self, theta: np.ndarray, ridge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W, and the ridge, which is `ridge` where it is not learned."""
        w, log_ridge = theta[: self.n_w], theta[self.n_w :]
        w = np.broadcast_to(np.exp(w), self.shape) if self.in_logs else w.reshape(self.shape)
        return w, np.broadcast_to(np.exp(log_ridge), ridge.shape) if self.with_ridge else ridge

    def gradient(self, w: np.ndarray, w_gradient: np.ndarray, ridge_gradient: np.ndarray) -> np.ndarray:
        """Derivatives in theta from those in W and log ridge."""
        w_gradient = w_gradient * w if self.in_logs else w_gradient.ravel()
        if self.structure == "scalar":
            w_gradient, ridge_gradient = w_gradient.sum(keepdims=True), ridge_gradient.sum(keepdims=True)
        return np.append(w_gradient, ridge_gradient[: self.n_ridge])


def learn(learner: Learner, structure: str, rank: int, scalar_starts: list[tuple[float, float]]) -> Learned:
    """The best minimum from several starts.

    Parameters
    ----------
    learner : Learner
    structure : {"scalar", "diagonal", "low_rank", "full"}
    rank : int
        Of "low_rank".
    scalar_starts : list of (w, ridge)
        Candidates for the scalar optimum.
    """
    d = learner.loss.x.shape[1]
    scalars = [(np.full(d, w), np.full(d, ridge)) for w, ridge in scalar_starts]
    if structure == "scalar":
        return _raced(learner, scalars, "scalar")
    scalar = _best_on_part(replace(learner, penalty=0.0), scalars, "scalar")
    fixed = [(np.full(d, w), np.full(d, _FIXED_RIDGE)) for w in _FIXED_STARTS]
    diagonal = _raced(learner, [(scalar.w, scalar.ridge), *fixed], "diagonal")
    if diagonal.objective > learner.objective(scalar.w, scalar.ridge)[0]:
        diagonal = learner.minimise(scalar.w, scalar.ridge, "diagonal")
    if structure == "diagonal":
        return diagonal
    r = d if structure == "full" else rank
    directions = scalar.w[0] * principal_directions(learner.loss, scalar, r)
    strongest = np.sort(np.argsort(diagonal.w)[d - r :])
    starts = [(np.diag(diagonal.w)[:, strongest], diagonal.ridge), (directions, scalar.ridge)]
    matrix = _raced(learner, starts, structure)
    if r == d and matrix.objective > diagonal.objective:
        matrix = learner.minimise(*starts[0], structure)
    return matrix


def _raced(learner: Learner, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> Learned:
    """The minimum from the start that gets lowest; with many rows on a part of them, then on all from there."""
    winner = _best_on_part(learner, starts, structure)
    return winner if len(learner.loss.rows) <= _RACE_ROWS else learner.minimise(winner.w, winner.ridge, structure)


def _best_on_part(learner: Learner, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> Learned:
    """The lowest of the minima from all starts, with many rows on a part of them and roughly."""
    rows = learner.loss.rows
    if len(rows) > _RACE_ROWS:
        part = np.sort(np.random.default_rng(0).choice(rows, _RACE_ROWS, replace=False))
        learner = replace(learner, loss=replace(learner.loss, rows=part), tol=_RACE_TOLERANCE)
    return min((learner.minimise(w, ridge, structure) for w, ridge in starts), key=lambda learned: learned.objective)


def without_the_useless(learner: Learner, learned: Learned) -> Learned:
    """Features whose w is small switched off, where the objective is no worse without them."""
    useful = learned.w > _SMALL_W if learned.w.ndim == 1 else np.linalg.norm(learned.w, axis=1) > _SMALL_W
    w = (learned.w.T * useful).T
    objective, loss, _ = learner.objective(w, learned.ridge)
    if objective > learned.objective + learner.tol:
        return learned
    return replace(learned, w=w, objective=objective, path=[*learned.path[:-1], loss])


def principal_directions(loss: Loss, scalar: Learned, r: int) -> np.ndarray:
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
    factors = scan_grid(criterion.smoother.keys, criterion.smoother.kernel)[0][::2]
    factors = factors[(1.0 / factors > _W_BOUNDS[0]) & (1.0 / factors < _W_BOUNDS[1])]
    scores = scan(factors)[0]
    minima = local_minima(scores)
    lowest = factors[minima[np.argsort(scores[minima], kind="stable")][:_MOST_SCALAR_STARTS]]
    return [(1.0 / c, scan.best_ridge(c)) for c in lowest.tolist()] or [(1.0, _FIXED_RIDGE)]
