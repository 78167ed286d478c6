"""Data to try a smoother on."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sknw._sklearn_compat import Interval, validate_params

__all__ = ["make_sine_power"]


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "high": [Interval(Real, 0, None, closed="neither")],
        "sort": ["boolean"],
        "random_state": ["random_state"],
        "return_truth": ["boolean"],
    }
)
def make_sine_power(
    n_samples: int = 50,
    *,
    noise: float = 0.5,
    high: float = 5.0,
    sort: bool = True,
    random_state: Any = None,
    return_truth: bool = False,
) -> tuple[np.ndarray, ...]:
    """Make the one-feature regression problem of the attention chapter of Dive into Deep Learning.

    x is uniform on [0, high] and y = 2 sin(x) + x^0.8 + noise * e with e standard normal [1]_.

    Parameters
    ----------
    n_samples : int, default=50
        Number of samples.
    noise : float, default=0.5
        Standard deviation of the noise, in units of y.
    high : float, default=5.0
        The largest possible x.
    sort : bool, default=True
        Whether x comes in ascending order, as a heat map of attention weights wants it.
    random_state : int, RandomState instance or None, default=None
        Determines the data; an int gives the same ones at every call.
    return_truth : bool, default=False
        Whether to return the noiseless y as well.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The inputs x.
    y : ndarray of shape (n_samples,)
        The targets.
    truth : ndarray of shape (n_samples,)
        2 sin(x) + x^0.8; only with `return_truth`.

    See Also
    --------
    sklearn.datasets.make_friedman1 : Several features, some of which do not matter.

    References
    ----------
    .. [1] A. Zhang, Z. C. Lipton, M. Li, A. J. Smola, "Dive into Deep Learning", chapter "Attention Pooling:
       Nadaraya-Watson Kernel Regression".

    Examples
    --------
    >>> from sknw.datasets import make_sine_power
    >>> X, y = make_sine_power(n_samples=100, random_state=0)
    >>> X.shape, y.shape
    ((100, 1), (100,))
    """
    random = check_random_state(random_state)
    x = random.uniform(0.0, high, size=n_samples)
    if sort:
        x.sort()
    truth = 2.0 * np.sin(x) + x**0.8
    y = truth + noise * random.normal(size=n_samples)
    X = x[:, np.newaxis]
    return (X, y, truth) if return_truth else (X, y)
