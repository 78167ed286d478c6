"""What is asked of every fitted smoother: that queries are as its samples, and the weights that it gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted, validate_data

from sknw._kernel_sums.shards import NEEDS_ALL_ROWS
from sknw._predictive.fitted import FittedSmoother
from sknw._predictive.partial_dependence import individual_curves
from sknw._sklearn_compat import validate_queries
from sknw._smoothing.attention import effective_sample_size, sparse_attention
from sknw._smoothing.smoother import Smoother
from sknw.estimators.arguments import check_top_k
from sknw.estimators.dask_arrays import is_dask_array
from sknw.estimators.progress import report_progress
from sknw.estimators.tables import Categories, as_table, densify, encode, names_the_remedy


class AttentionMixin:
    """Methods of every fitted smoother that read it."""

    _fitted: FittedSmoother
    X_train_: np.ndarray
    y_train_: np.ndarray
    is_categorical_: np.ndarray
    categories_: Categories
    n_jobs: int | None
    verbose: int

    def attention_weights_(
        self, X: ArrayLike, *, sparse_output: bool = False, top_k: int | None = None
    ) -> np.ndarray | csr_array:
        """Compute the weight that each query gives to each training sample.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        sparse_output : bool, default=False
            Whether to return a sparse array, of the weights that are not zero: few with a compact kernel.
        top_k : int, default=None
            Keep the k largest weights of each query, scaled to sum to 1; sparse. Of equal weights those of the first
            samples are kept. None keeps all.

        Returns
        -------
        ndarray or csr_array of shape (n_queries, n_samples)
            Non-negative, each row sums to 1. Where values are pooled, ``weights @ y_train_`` is the prediction; local
            lines are fitted with these weights.

        Raises
        ------
        ValueError
            If `top_k` is not a positive integer; if `outside` is "raise" and a query is without support.
        """
        check_top_k(top_k)
        array, smoother = self._validate_queries(X)
        queries, training = smoother.queries(array), self._fitted.training
        if sparse_output or top_k is not None:
            settings = smoother.policy, smoother.algorithm, top_k, self._fitted.shares
            sparse, unsupported = sparse_attention(smoother.value_request(queries), *settings)
            self._raise_outside(smoother, unsupported)
            return sparse
        weights = np.empty((len(array), len(self.X_train_)))

        def fill(rows: slice, block: np.ndarray) -> None:
            weights[rows] = training.for_given_rows(block)

        unsupported = smoother.for_each_attention_block(queries, fill)
        self._raise_outside(smoother, unsupported)
        return weights

    def effective_sample_size(self, X: ArrayLike) -> np.ndarray:
        """Count the equally weighted samples a prediction rests on, 1 / sum_i (a(x, x_i)^2 / sample_weight_i).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries,)
            Between the smallest sample weight, of weights scaled to mean 1, and the number of samples; NaN for queries
            without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no sample in the kernel's support.
        """
        array, smoother = self._validate_queries(X)
        request = smoother.value_request(smoother.queries(array))
        size, unsupported = effective_sample_size(request, smoother.policy, smoother.algorithm)
        self._raise_outside(smoother, unsupported)
        return self._fitted.training.sample_weight.max() * size

    def _validate_queries(
        self,
        X: ArrayLike,
        name: Literal["smoother", "with_squares", "for_intervals"] = "smoother",
        takes_shards: bool = False,
    ) -> tuple[np.ndarray, Smoother]:
        """X as an array, with codes of categories, and the smoother of that name for it, with the present `n_jobs`.

        Training rows on the workers of a cluster are refused, unless the method `takes_shards`.
        """
        if not takes_shards:
            self._require_rows_here()
        array = self._validate_inputs(X)
        if name != "smoother":
            self._require_left_out("A prediction interval or standard deviation")
        smoother: Smoother = getattr(self._fitted, name)
        return array, smoother.with_settings(array.dtype == np.float32, self.n_jobs)

    def _require_rows_here(self) -> None:
        """Refuse what needs the training rows where they are on the workers of a cluster."""
        check_is_fitted(self)
        if is_dask_array(self.X_train_):
            raise ValueError(NEEDS_ALL_ROWS)

    def _require_left_out(self, what: str) -> None:
        """Refuse what rests on left-out predictions where `partial_fit` has appended rows without any."""
        if not hasattr(self, "loo_prediction_"):
            raise ValueError(
                f"{what} rests on predictions of each training row from the others, and partial_fit has appended rows "
                "without any: fit all rows at once, with this bandwidth or w in numbers."
            )

    def _individual_curves(self, rows: np.ndarray, feature: int, values: np.ndarray) -> np.ndarray:
        """Standardised predictions (m, g, k) of the rows with each of the values (g,) in place of that of a feature."""
        self._require_rows_here()
        smoother: Smoother = replace(self._fitted.smoother, n_jobs=self.n_jobs)
        return individual_curves(smoother, rows, feature, values)

    def _validate_inputs(self, X: ArrayLike) -> np.ndarray:
        """The queries X as an array, with codes of categories."""
        if not hasattr(self, "_fitted"):
            check_is_fitted(self)
        X = densify(X)
        if self.is_categorical_.any():
            table = as_table(X)
            validate_data(self, X, reset=False, skip_check_array=True)
            with names_the_remedy(self):
                return encode(table, self.categories_)
        with names_the_remedy(self):
            return validate_queries(self, X)

    def _pool_batches(self, array: np.ndarray, smoother: Smoother) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield batches of the rows of an array of queries, and what is pooled there."""
        of_equal_size = smoother.batches(len(array))
        batches: Iterable[slice] = of_equal_size
        if self.verbose:
            first = smoother.queries(array[of_equal_size[0]])
            batches = report_progress(type(self).__name__, smoother, first, len(array), of_equal_size)
        for batch in batches:
            pooled, unsupported = smoother.pool(smoother.queries(array[batch]))
            self._raise_outside(smoother, unsupported)
            yield batch, pooled

    @staticmethod
    def _raise_outside(smoother: Smoother, unsupported: np.ndarray) -> None:
        if smoother.policy == "raise" and unsupported.any():
            raise ValueError(
                f"{unsupported.sum()} of {unsupported.size} queries have no training sample within the kernel's "
                "support; choose a larger bandwidth, or outside='nearest', 'mean' or 'nan'."
            )
