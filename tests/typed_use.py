"""What users write: the strictest rules of mypy, which `[tool.mypy]` sets for this file, accept it. Nothing runs it."""

import numpy as np

from sknw import (
    AttentionDisplay,
    AttentionPoolingRegressor,
    BandwidthSearch,
    Kernel,
    LocalLinearRegressor,
    NadarayaWatsonRegressor,
    make_sine_power,
)


class Cauchy(Kernel):
    def profile(self, sq: np.ndarray) -> np.ndarray:
        return 1.0 / (1.0 + sq)


def use() -> tuple[BandwidthSearch | None, np.ndarray, float]:
    X, y = make_sine_power(50, random_state=0)
    model = NadarayaWatsonRegressor(Cauchy(), bandwidth=[0.5], n_jobs=2).fit(X, y)
    search: BandwidthSearch | None = model.bandwidth_search_
    mean, std = model.predict([[1.0]], return_std=True)
    score: float = model.loo_score_
    LocalLinearRegressor(ridge=0.1).fit(X, y).predict_interval(X, coverage=0.8).mean()
    AttentionPoolingRegressor(w="full", degree=1).fit(X, y).w_.sum()
    AttentionDisplay.from_estimator(model, X).plot().weights.sum()
    residuals: np.ndarray = y - model.predict(X) + mean - std
    return search, residuals, score


def mistakes() -> list[object]:
    """Mypy complains where one of these comments has nothing to ignore."""
    model = NadarayaWatsonRegressor()
    return [
        model.predict([[1.0]]).nearest,  # type: ignore[attr-defined]
        model.predict([[1.0]], return_std=True).mean(),  # type: ignore[attr-defined]
        LocalLinearRegressor("gaussian", 0.5, 0.5),  # type: ignore[call-arg]
    ]
