"""The package is typed for its users: what they write passes a strict type checker, and mistakes do not."""

import textwrap

from mypy import api

USER = """
    import numpy as np

    from sknw import AttentionDisplay
    from sknw import AttentionPoolingRegressor
    from sknw import BandwidthSearch
    from sknw import Kernel
    from sknw import LocalLinearRegressor
    from sknw import NadarayaWatsonRegressor
    from sknw import make_sine_power


    class Cauchy(Kernel):
        def profile(self, sq: np.ndarray) -> np.ndarray:
            return 1.0 / (1.0 + sq)


    X, y = make_sine_power(50, random_state=0)
    model = NadarayaWatsonRegressor(Cauchy(), bandwidth=[0.5], n_jobs=2).fit(X, y)
    search: BandwidthSearch | None = model.bandwidth_search_
    residuals: np.ndarray = y - model.predict(X)
    mean, std = model.predict([[1.0]], return_std=True)
    score: float = model.loo_score_
    LocalLinearRegressor(ridge=0.1).fit(X, y).predict_interval(X, coverage=0.8).mean()
    AttentionPoolingRegressor(w="full", degree=1).fit(X, y).w_.shape
    AttentionDisplay.from_estimator(model, X).plot().weights.sum()

    # mistakes: the strict checker complains where one of these comments has nothing to ignore
    model.predict(X).nearest  # type: ignore[attr-defined]
    model.predict(X, return_std=True).mean()  # type: ignore[attr-defined]
    LocalLinearRegressor("gaussian", 0.5, 0.5)  # type: ignore[call-arg]
"""


def test_what_users_write_is_typed(tmp_path):
    (tmp_path / "user.py").write_text(textwrap.dedent(USER))
    printed, errors, status = api.run(
        ["--strict", "--config-file=", f"--cache-dir={tmp_path}", str(tmp_path / "user.py")]
    )
    assert status == 0, printed + errors
