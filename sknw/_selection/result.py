"""What a bandwidth search has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sknw._selection.autocorrelation import Autocorrelation


@dataclass(frozen=True, eq=False, repr=False)
class BandwidthSearch:
    """What a bandwidth selector saw.

    Made by `fit` as the attribute `bandwidth_search_` of an estimator; it prints as a table of the choice and the other
    local minima. All parameters are attributes.

    Parameters
    ----------
    criterion : {"loo", "aicc", "gcv"}
        What was minimised.
    factors : ndarray of shape (n_candidates,)
        The bandwidths tried, in units of the features' standard deviations; ascending.
    bandwidths : ndarray of shape (n_candidates, n_features)
        The same in units of X.
    scores : ndarray of shape (n_candidates,)
        The criterion, to be minimised; infinite where it does not exist. Of one output "loo" and "gcv" are in units of
        y squared; of several they are means of what each output has in units of its variance. For more than 2000
        validation rows, candidates far from every minimum of the scan were scored on some of them only; for more
        than 5000 samples they may be scores of a subsample, or of samples merged in bins.
    best_index : int
        The chosen candidate.
    local_minima : ndarray of int
        All candidates at which the criterion has a local minimum.
    at_edge : bool
        Whether the choice is the smallest or the largest candidate: then the criterion prefers the nearest neighbour,
        or the mean, to any bandwidth; of local lines one line for all.
    n_unsupported : int
        Validation rows with no other sample in the kernel's support at the chosen bandwidth.
    has_duplicates : bool
        Whether two samples have the same inputs.
    is_comparable : ndarray of bool
        Which scores are those of all samples and validation rows, as that of the choice is; the others do not compare.
    autocorrelation : Autocorrelation or None
        How much the leave-one-out residuals of neighbours are correlated beyond what independent errors give, in the
        order, of the rows or of a feature, that shows most: `order` (None: the rows), `span` (neighbours are at most
        this many samples apart), `excess`, `z`, the excess in standard deviations, and `is_alarm`. None for other
        criteria than "loo", with `cv` or `groups`, with fewer than 150 or more than 500 000 samples or too few
        validation samples, where residuals are small beside the targets or lack of fit, and where they are not
        correlated.

    See Also
    --------
    NadarayaWatsonRegressor : Its parameter `bandwidth` says what the criteria are.
    BandwidthDisplay : The search in a picture.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> X, y = make_sine_power(random_state=0)
    >>> search = NadarayaWatsonRegressor().fit(X, y).bandwidth_search_
    >>> bool(search.scores[search.best_index] == search.scores.min())
    True
    """

    criterion: str
    factors: np.ndarray
    bandwidths: np.ndarray
    scores: np.ndarray
    best_index: int
    local_minima: np.ndarray
    at_edge: bool
    n_unsupported: int
    has_duplicates: bool
    is_comparable: np.ndarray
    autocorrelation: Autocorrelation | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, of public types: of the autocorrelation its own."""
        found = self.autocorrelation
        return {**vars(self), "autocorrelation": None if found is None else vars(found)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = state["autocorrelation"]
        vars(self).update({**state, "autocorrelation": None if found is None else Autocorrelation(**found)})

    def __repr__(self) -> str:
        """The choice and the other local minima in a table, and what deserves attention."""
        lines = [
            f'BandwidthSearch by "{self.criterion}" over {len(self.factors)} bandwidths, {self.factors[0]:.2g} to '
            f"{self.factors[-1]:.2g} standard deviations",
            f"{'':>14}{'factor':>10}{'score':>12}  bandwidth",
        ]
        for index in sorted({self.best_index, *self.local_minima.tolist()}, key=lambda index: self.scores[index]):
            name = "choice" if index == self.best_index else "local minimum"
            bandwidth = np.array2string(self.bandwidths[index], precision=4, threshold=8, edgeitems=3)
            lines.append(f"{name:<14}{self.factors[index]:>10.4g}{self.scores[index]:>12.5g}  {bandwidth}")
        if self.at_edge:
            lines.append(f"The choice is the {'largest' if self.best_index else 'smallest'} bandwidth tried.")
        if self.n_unsupported:
            lines.append(f"{self.n_unsupported} samples have no other one in the kernel's support.")
        if self.has_duplicates:
            lines.append("Some samples have the same inputs.")
        if self.autocorrelation is not None and self.autocorrelation.is_alarm:
            lines.append(f"Leave-one-out residuals are autocorrelated: {self.autocorrelation}.")
        return "\n".join(lines)
