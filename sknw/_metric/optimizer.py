"""Learning w: the penalised leave-one-out loss minimised from several starts, by L-BFGS-B or Gauss-Newton steps.

Inputs x are centred and divided by their standard deviations, as are the targets. What is minimised is

    o(L) + (1 - 1/d) penalty / n (gamma sum_k ||W_k|| + 0.01 sum_k (log ridge_k - mean)^2),

L the loss of `loss.py`, o(L) = log L for squared errors and L for the log loss, W_k what multiplies feature k, n
samples, gamma = 1 for weighted means and sqrt(d) for local lines, mean that of the log ridge_k. With "scalar" there is
no penalty: one number is too little to fit noise with. Local lines learn a ridge for each feature, which can take the
slope along a feature out as w_k = 0 takes the feature out of the distance.

With more than 15 features the w and the ridges of lines are learned by Gauss-Newton steps, unless w is a matrix: a few
steps do the work of many iterations of L-BFGS-B. After every few steps, slopes that hardly change the loss are taken
out, and small w_k become 0. Most of many features do not matter, and a step takes the time of those that are left.
Infinite ridges are no part of the sum over the ridges.

Structures are nested, W = c I, diag(w_1, ..., w_d), d x d matrices: a start of each is the optimum of the one before.
Of one feature without a ridge to learn the first two are the same, and all starts of both compete.

The form and the size of the penalty and the starts were chosen by the test error on the 25 data sets of
benchmarks/accuracy.py; docs/guide/learned_attention.rst says what else was tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from sknw._metric.gauss_newton import Derivatives, minimise_squares
from sknw._metric.loss import Loss
from sknw._metric.parametrization import RIDGE_BOUNDS, W_BOUNDS, Parametrization, ridge_bounds
from sknw._metric.slopes import rises_without_slopes
from sknw._selection.criterion import Criterion
from sknw._selection.grid import bandwidth_grid, factor_of_spacing, local_minima
from sknw._smoothing.datafit import EXACT_FIT

# Starts besides those of the scan: every w, in standardised inputs, and every ridge. A single start of 0.3 stays in a
# local minimum where the target varies rapidly.
START_W, START_RIDGE = (0.3, 1.0), 0.1
# The objective where `outside` forbids w: above every other.
INFEASIBLE = 1e6
# Of the variance of the log ridges, beside the sum of the ||W_k||: ridges a factor e apart cost as much as 0.01 in w_k.
# It only keeps ridges that do not matter to the loss from drifting to their bounds.
LOG_RIDGE_VARIANCE_PENALTY = 0.01
# Features of smaller w are candidates for w = 0: two standard deviations along one add at most 0.01 to u^2.
SMALL_W = 0.05
# L-BFGS-B ends when no derivative is larger; how many steps it remembers.
_SMALLEST_GRADIENT, N_CORRECTIONS = 1e-7, 20
# L-BFGS-B sees the objective, its derivatives and the starts rounded to multiples of these, far above the rounding of
# engines and threads (1e-14 to 1e-12), which a path of 50 steps else amplifies.
_OBJECTIVE_STEP, _GRADIENT_STEP, _START_STEP = 2.0**-32, 2.0**-23, 2.0**-10
# Kernels whose widths differ by a smaller factor are equally wide.
_EQUAL_WIDTH = 0.01
# Where the loss is below the first number at ridges of the second, the target is a line.
_EXACT_LINE, _EXACT_RIDGE = 1e-20, 1e-12
# With more features than this those that are idle are taken out: looked for after every few iterations, if at least
# this part of all w and slopes is, and their going raises the objective, in units of 1 / n, by no more than this.
_FEW_FEATURES, _ITERATIONS_BETWEEN, _LEAST_PART, _MOST_RISE = 15, 4, 0.1, 0.02
# Of many features Gauss-Newton steps end with one that lowers the objective by less than the first number, in units of
# 1 / n: what follows fits noise. They hold log w_k less firmly where w_k is smaller than the second, so that the w_k of
# features that do not matter soon are 0.
_LEAST_GAIN, _FIRM_W = 0.3, 0.3
_REACHED_MAX_ITER = 1  # status of scipy's L-BFGS-B
# Rows of the scan for scalar w, over every other bandwidth of a grid. Lines of many features take fewer, but at least
# the second number. Where w is one number the scan takes `_SCREEN_ROWS`, and every bandwidth.
_SCAN_ROWS, _LEAST_SCAN_ROWS = 250, 25
# How many minima of the scan are starts.
_MOST_SCALAR_STARTS = 2
# With more rows the starts are compared on this many, to this tolerance.
_SCREEN_ROWS, _SCREEN_TOL = 500, 1e-4


@dataclass
class Progress:
    """Told of the loss after each iteration; once `on_iteration` returns True no minimisation makes another."""

    on_iteration: Callable[[], bool]
    verbose: int
    name: str = "AttentionPoolingRegressor"  # of the estimator
    stopped: bool = False

    def __call__(self, loss: float, structure: str, n_rows: int) -> None:
        if self.verbose:
            print(f"[{self.name}] {structure} w, {n_rows} rows: leave-one-out loss {loss:.6g}")
        self.stopped = self.on_iteration()


@dataclass(frozen=True, eq=False)
class MetricFit:
    """A minimum of the objective, for standardised inputs; `path` is L at the start and after each iteration."""

    w: np.ndarray
    ridge: np.ndarray
    objective: float
    path: list[float]
    converged: bool


@dataclass(frozen=True, eq=False)
class MetricOptimizer:
    """Minimisation of the objective.

    `given_ridge` (d,) is None where the ridge is learned, if there are lines. A minimisation ends after `max_iter`
    iterations, or when one lowers the objective by less than `tol`. Of minima that differ by less than `tol` the one
    from the first start is taken, so that rounding does not decide.
    """

    loss: Loss
    given_ridge: np.ndarray | None
    penalty: float
    max_iter: int
    tol: float
    progress: Progress

    @cached_property
    def w_bounds(self) -> tuple[float, float]:
        """The bounds of w. That of lines on one feature is not much narrower than the spacing of the samples.

        Where the spacing is even, leave-one-out would else take the narrowest of all kernels for the best one: the mean
        of the two samples beside a sample is close to it, and between samples the prediction is a staircase.
        """
        x, (smallest, largest) = self.loss.x, W_BOUNDS
        if x.shape[1] > 1 or self.loss.smoother.line is None:
            return W_BOUNDS
        return smallest, min(max(factor_of_spacing(x[:, 0], self.loss.smoother.kernel), 1.0), largest)

    @property
    def learns_ridge(self) -> bool:
        return self.given_ridge is None and self.loss.smoother.line is not None

    @property
    def learns_many_slopes(self) -> bool:
        return self.learns_ridge and len(self.loss.training.scales) > _FEW_FEATURES

    @property
    def learns_one_number(self) -> bool:
        """Whether one number w is all that is learned: of one feature, where no ridge is. The scan is one of all w."""
        return len(self.loss.training.scales) == 1 and not self.learns_ridge

    def takes_squares(self, w: np.ndarray) -> bool:
        """Whether w is learned by Gauss-Newton steps, which take the derivatives of each row."""
        return self.learns_many_slopes and w.ndim == 1

    def objective(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """The objective, L, and the derivatives of the objective in w and in the ridges."""
        loss, by_w, by_ridge = self.loss(w, ridge)
        if not np.isfinite(loss):
            return INFEASIBLE, loss, np.zeros_like(w), np.zeros_like(ridge)
        penalty, penalty_by_w, penalty_by_ridge = self.penalty_at(w, ridge)
        of_loss, by_loss = self.loss.datafit.objective(loss)
        return of_loss + penalty, loss, by_loss * by_w + penalty_by_w, by_loss * by_ridge + penalty_by_ridge

    def value(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, float]:
        """The objective and L."""
        loss = self.loss.value(w, ridge)
        if not np.isfinite(loss):
            return INFEASIBLE, loss
        return self.loss.datafit.objective(loss)[0] + self.penalty_at(w, ridge)[0], loss

    def penalty_at(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """What is added to o(L), and its derivatives in w and in the ridges; a ridge that is given costs nothing."""
        strength = self._strength(w)
        norms = np.abs(w) if w.ndim == 1 else np.linalg.norm(w, axis=1)
        by_w = np.divide(w.T, norms, out=np.zeros_like(w.T), where=norms > 0).T
        gamma = 1.0 if self.loss.smoother.line is None else float(np.sqrt(len(w)))
        penalty, by_ridge = gamma * norms.sum(), np.zeros_like(ridge)
        if self.learns_ridge:
            has_slope = np.isfinite(ridge)
            deviations = np.where(has_slope, np.log(ridge) - np.log(ridge[has_slope]).mean(), 0.0)
            penalty += LOG_RIDGE_VARIANCE_PENALTY * (deviations**2).sum()
            by_ridge = 2.0 * LOG_RIDGE_VARIANCE_PENALTY * deviations / ridge  # 0 of those that are infinite
        return float(strength * penalty), strength * gamma * by_w, strength * by_ridge

    def _strength(self, w: np.ndarray) -> float:
        return (1.0 - 1.0 / len(w)) * self.penalty / len(self.loss.training)

    def squares(
        self, w: np.ndarray, ridge: np.ndarray, theta: Parametrization
    ) -> tuple[float, float, Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """The objective, L, and what returns the gradient in theta, A and the diagonal of C, for w (d,).

        With J_i the derivatives in theta of the root r_i of a loss, A has the rows sqrt(2 o'(L) w_i / sum_i w_i) J_i. C
        has the second derivatives of the penalty.
        """
        roots, derivatives = self.loss.roots(w, ridge)
        relative = self.loss.training.sample_weight[self.loss.validation.rows]
        relative = relative / relative.sum()
        loss = float(relative @ roots**2)
        if not np.isfinite(loss):
            nothing = np.zeros(len(theta.bounds))
            return INFEASIBLE, loss, lambda: (nothing, nothing[np.newaxis], nothing)
        penalty, penalty_by_w, penalty_by_ridge = self.penalty_at(w, ridge)
        of_loss, by_loss = self.loss.datafit.objective(loss)

        def of_theta() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            root_of_weight = np.sqrt(2.0 * by_loss * relative)
            a = root_of_weight[:, np.newaxis] * theta.gradient(w, ridge, *derivatives())
            of_log_ridges = 2.0 * LOG_RIDGE_VARIANCE_PENALTY * self._strength(w)
            curvature = theta.gradient(w, ridge, penalty_by_w, of_log_ridges / ridge)
            gradient = theta.gradient(w, ridge, penalty_by_w, penalty_by_ridge) + (root_of_weight * roots) @ a
            return gradient, a, curvature

        return of_loss + penalty, loss, of_theta

    def minimise(self, w: np.ndarray, ridge: np.ndarray, structure: str) -> MetricFit:
        """The minimum that is found from w (d,) or (d, r) and ridge (d,).

        Of many features those that do not matter are taken out on the way: w_k = 0, or ridge_k infinite.
        """
        ridge = ridge if self.given_ridge is None else self.given_ridge
        takes_out = self.learns_many_slopes and structure == "diagonal"
        n_left, path = self.max_iter, [np.nan]
        while True:
            fit, fewer = replace(self, max_iter=n_left)._descend(w, ridge, structure, takes_out)
            n_left, path = n_left - len(fit.path) + 1, [*path[:-1], *fit.path]
            if fewer is None or n_left == 0:
                return replace(fit, path=path, converged=fit.converged and fewer is None)
            w, ridge = fewer

    def _descend(
        self, w: np.ndarray, ridge: np.ndarray, structure: str, takes_out: bool
    ) -> tuple[MetricFit, tuple[np.ndarray, np.ndarray] | None]:
        """The minimum, or w and ridge on the way to it with which to go on, without some features."""
        theta = Parametrization(structure, w, ridge, self.learns_ridge, self.w_bounds)
        descent = _Descent(self, theta, structure, takes_out, MetricFit(w, ridge, np.inf, [np.nan], False))
        start = theta.pack(w, ridge)
        takes_squares = self.takes_squares(w)
        at_start: Any = (descent.squares if takes_squares else descent.function)(start)
        descent.path.append(descent.best.path[-1])
        if descent.is_over:
            return replace(descent.best, path=descent.path, converged=True), None
        if takes_squares:
            tol = max(self.tol, _LEAST_GAIN / len(self.loss.validation))
            run = theta.bounds, descent.after_iteration, self.max_iter, tol
            converged = minimise_squares(descent.squares, start, at_start, *run)
        else:
            options = {"maxiter": self.max_iter, "ftol": self.tol, "gtol": _SMALLEST_GRADIENT, "maxcor": N_CORRECTIONS}
            problem = {"jac": True, "method": "L-BFGS-B", "bounds": theta.bounds}

            def function(vector: np.ndarray) -> tuple[float, np.ndarray]:
                return at_start if np.array_equal(vector, start) else descent.function(vector)

            result = minimize(function, start, callback=descent.after_iteration, options=options, **problem)
            descent.path[-1] = descent.best.path[-1]  # the last search along a line may have found a lower one
            converged = result.status != _REACHED_MAX_ITER
        return replace(descent.best, path=descent.path, converged=converged), descent.fewer

    def without_idle_features(self, fit: MetricFit) -> tuple[np.ndarray, np.ndarray] | None:
        """Its w and ridge without slopes that hardly matter and with w_k = 0 where w_k is small; None if these are few.

        Together they may raise the objective by `_MOST_RISE` / n, n the number of predictions.
        """
        w, ridge, most = fit.w, fit.ridge, _MOST_RISE / len(self.loss.validation)
        rises = np.where(np.isinf(ridge), np.inf, rises_without_slopes(self.loss, w, ridge))
        is_small, n_slopes = (w > 0) & (w <= SMALL_W), int(np.isfinite(ridge).sum())
        idle = np.argsort(rises, kind="stable")[: min(int(np.sum(rises < most)), n_slopes - 1)]
        while len(idle) + int(is_small.sum()) >= _LEAST_PART * (n_slopes + int((w > 0).sum())):
            fewer = np.where(is_small, 0.0, w), np.where(np.isin(np.arange(len(w)), idle), np.inf, ridge)
            if self.value(*fewer)[0] <= fit.objective + most:
                return fewer
            if not len(idle):
                break
            idle = idle[: len(idle) // 2]
        return None


@dataclass(eq=False)
class _Descent:
    """A minimisation over theta as it goes on: the best so far, and L at the start and after each iteration."""

    learner: MetricOptimizer
    theta: Parametrization
    structure: str
    takes_out: bool
    best: MetricFit
    path: list[float] = field(default_factory=list)
    fewer: tuple[np.ndarray, np.ndarray] | None = None  # w and ridge with which to go on, without some features

    @property
    def is_over(self) -> bool:
        """Whether the fit is exact, or was stopped from outside."""
        return self.learner.progress.stopped or self.path[-1] < EXACT_FIT

    def function(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient, rounded."""
        w, ridge = self.theta.unpack(vector)
        objective, loss, by_w, by_ridge = self.learner.objective(w, ridge)
        gradient = _rounded(self.theta.gradient(w, ridge, by_w, by_ridge), _GRADIENT_STEP)
        return self._keep_best(w, ridge, objective, loss), gradient

    def squares(self, vector: np.ndarray) -> tuple[float, Callable[[], Derivatives]]:
        """The objective, rounded, and a function that returns its derivatives for Gauss-Newton steps."""
        w, ridge = self.theta.unpack(vector)
        objective, loss, derivatives = self.learner.squares(w, ridge, self.theta)

        def rounded_derivatives() -> Derivatives:
            of_theta = derivatives()
            firmness, n_w = np.ones(len(vector)), self.theta.n_w
            firmness[:n_w] = np.minimum(np.exp(vector[:n_w]) / _FIRM_W, 1.0) ** 2
            gradient, a, c = (_rounded(array, _GRADIENT_STEP) for array in of_theta)
            return gradient, a, c, firmness

        return self._keep_best(w, ridge, objective, loss), rounded_derivatives

    def _keep_best(self, w: np.ndarray, ridge: np.ndarray, objective: float, loss: float) -> float:
        """The objective, rounded."""
        objective = float(_rounded(objective, _OBJECTIVE_STEP))
        if objective < self.best.objective:
            self.best = replace(self.best, w=w, ridge=ridge, objective=objective, path=[*self.path, loss])
        return objective

    def after_iteration(self, intermediate_result: OptimizeResult | None = None) -> None:
        """Report the loss; StopIteration ends the minimisation."""
        self.path.append(self.best.path[-1])
        self.learner.progress(self.path[-1], self.structure, len(self.learner.loss.validation))
        if self.is_over:
            raise StopIteration
        if self.takes_out and (len(self.path) - 1) % _ITERATIONS_BETWEEN == 0:
            self.fewer = self.learner.without_idle_features(self.best)
            if self.fewer is not None:
                raise StopIteration


def learn(learner: MetricOptimizer, structure: str, rank: int) -> MetricFit:
    """The best minimum of a structure, with `rank` columns if W is a matrix."""
    d = len(learner.loss.training.scales)
    scalars = [(np.full(d, w), np.full(d, ridge)) for w, ridge in scalar_starts(learner)]
    fixed = [(np.full(d, w), np.full(d, START_RIDGE)) for w in START_W]
    if learner.learns_one_number and structure in ("scalar", "diagonal"):
        return multistart(learner, [*scalars, *fixed], structure)
    if structure == "scalar":
        return multistart(learner, scalars, structure)
    if learner.learns_many_slopes:
        scalar = MetricFit(*scalars[0], np.inf, [np.nan], True)  # not minimised: near enough for Gauss-Newton steps
    else:
        scalar = screen_starts(replace(learner, penalty=0.0), scalars, "scalar")
    diagonal = multistart(learner, [(scalar.w, scalar.ridge), *fixed], "diagonal")
    if not learner.learns_many_slopes and diagonal.objective > learner.value(scalar.w, scalar.ridge)[0]:
        diagonal = learner.minimise(scalar.w, scalar.ridge, "diagonal")
    if structure == "diagonal":
        return diagonal
    directions = scalar.w[0] * principal_directions(learner.loss, scalar, rank)
    strongest = np.sort(np.argsort(diagonal.w, kind="stable")[d - rank :])
    ridge = np.minimum(diagonal.ridge, RIDGE_BOUNDS[1])  # a matrix has slopes along all features
    starts = [(np.diag(diagonal.w)[:, strongest], ridge), (directions, scalar.ridge)]
    matrix = multistart(learner, starts, structure)
    if rank == d and matrix.objective > diagonal.objective:
        matrix = learner.minimise(*starts[0], structure)
    return matrix


def multistart(learner: MetricOptimizer, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> MetricFit:
    """The minimum from the start that gets lowest; of many rows this start is found on some of them."""
    winner = screen_starts(learner, starts, structure)
    return (
        winner if len(learner.loss.validation) <= _SCREEN_ROWS else learner.minimise(winner.w, winner.ridge, structure)
    )


def screen_starts(learner: MetricOptimizer, starts: list[tuple[np.ndarray, np.ndarray]], structure: str) -> MetricFit:
    """The lowest of the minima from all starts; of many rows on some of them, and roughly.

    Of equal ones the one with the widest kernel, and of these the first.
    """
    loss, n = learner.loss, len(learner.loss.validation)
    if n > _SCREEN_ROWS:
        some = np.sort(np.random.default_rng(0).choice(n, _SCREEN_ROWS, replace=False))
        learner = replace(learner, loss=replace(loss, validation=loss.validation[some]), tol=_SCREEN_TOL)
    minima = [learner.minimise(w, ridge, structure) for w, ridge in starts]
    lowest = min(minimum.objective for minimum in minima)
    equal = [minimum for minimum in minima if minimum.objective <= lowest + learner.tol]
    return min(
        equal, key=lambda minimum: round(np.log(max(float(np.linalg.norm(minimum.w)), W_BOUNDS[0])) / _EQUAL_WIDTH)
    )


def sharpen(learner: MetricOptimizer, learned: MetricFit) -> MetricFit:
    """The same with almost no ridge where that gives an exact fit: the target is a line."""
    if learner.learns_ridge and learned.path[-1] < EXACT_FIT:
        ridge = np.full_like(learned.ridge, _EXACT_RIDGE)
        objective, loss = learner.value(learned.w, ridge)
        if loss < _EXACT_LINE:
            return replace(learned, ridge=ridge, objective=objective, path=[*learned.path[:-1], loss])
    return learned


def prune_features(learner: MetricOptimizer, learned: MetricFit, largest: float) -> MetricFit:
    """The same with w_k = 0 where ||W_k|| is at most `largest`, if the objective rises by at most `tol`."""
    norms = learned.w if learned.w.ndim == 1 else np.linalg.norm(learned.w, axis=1)
    is_large = norms > largest
    if is_large.all():
        return learned
    w = (learned.w.T * is_large).T
    objective, loss = learner.value(w, learned.ridge)
    if objective > learned.objective + learner.tol:
        return learned
    return replace(learned, w=w, objective=objective, path=[*learned.path[:-1], loss])


def principal_directions(loss: Loss, scalar: MetricFit, r: int) -> np.ndarray:
    """The r directions along which local lines are steepest, (d, r), as long as their relative root mean square slope.

    The leading eigenvectors of the mean outer product of the slopes (Xia, Tong, Li & Zhu 2002).
    """
    loss = replace(loss, validation=loss.validation[:: -(-len(loss.validation) // _SCREEN_ROWS)])
    slope = loss.slopes(scalar.w, max(float(scalar.ridge.min()), START_RIDGE))
    weights = loss.training.sample_weight[loss.validation.rows]
    squares, directions = np.linalg.eigh(np.einsum("i,idk,iek->de", weights, slope, slope))
    lengths = np.sqrt(np.maximum(squares[::-1][:r], 0.0))
    lengths = np.divide(lengths, lengths[0], out=np.ones(r), where=lengths[0] > 0)
    directions = directions[:, ::-1][:, :r]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[np.newaxis], axis=0)
    return _rounded(directions * np.sign(largest) * lengths, _START_STEP)  # else their signs are arbitrary


def scalar_starts(learner: MetricOptimizer) -> list[tuple[float, float]]:
    """The scalar w = 1 / c, and ridges, at the two lowest local minima of a scan over bandwidths c on some rows."""
    smoother, training, validation = learner.loss.smoother, learner.loss.training, learner.loss.validation
    given = 0.0 if learner.given_ridge is None else float(np.median(learner.given_ridge))
    ridge = None if learner.learns_ridge else given
    d = len(training.scales)
    n_rows, step = _SCAN_ROWS, 2
    if learner.learns_one_number:
        n_rows, step = _SCREEN_ROWS, 1
    elif learner.learns_many_slopes:
        n_rows = max(_SCAN_ROWS * _FEW_FEATURES // d, _LEAST_SCAN_ROWS)
    some = validation[:: -(-len(validation) // n_rows)]
    if smoother.line is not None:
        smoother = smoother.with_line(smoother.line.along_rows())
    scan = Criterion("loo", smoother, training, some, ridge, learner.loss.datafit)
    factors = bandwidth_grid(smoother.index, smoother.kernel)[0][::step]
    smallest, largest = learner.w_bounds
    factors = factors[(1.0 / factors > smallest) & (1.0 / factors < largest)]
    if not factors.size:
        return [(1.0, START_RIDGE)]
    scores = scan(factors)[0]
    minima = local_minima(scores)
    lowest = factors[minima[np.argsort(scores[minima], kind="stable")][:_MOST_SCALAR_STARTS]].tolist()
    log_ridges = [_rounded(np.log(np.clip(scan.best_ridge(c), *ridge_bounds(1.0 / c))), _START_STEP) for c in lowest]
    return [(1.0 / c, float(np.exp(r))) for c, r in zip(lowest, log_ridges, strict=True)] or [(1.0, START_RIDGE)]


def _rounded(value: np.ndarray | float, step: float) -> np.ndarray:
    """The nearest multiple of a step."""
    return np.round(np.asarray(value) / step) * step
