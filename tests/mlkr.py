"""The loss of metric learning for kernel regression as another package computes it, kept in mlkr.json.

    pip install "metric-learn==0.7.0" "scikit-learn==1.5.2"    # in an environment of its own
    python tests/mlkr.py

The loss is sum_i (y_i - yhat_i)^2, yhat_i the mean of the other y_j weighted by softmax(-||A (x_i - x_j)||^2)
(K. Q. Weinberger, G. Tesauro, "Metric learning for kernel regression", AISTATS 2007).
"""

import json
from pathlib import Path

import numpy as np

VALUES = Path(__file__).with_name("mlkr.json")


def problems():
    """X (n, d), y (n,), A (r, d) of some sizes."""
    for n, d, r in [(12, 1, 1), (25, 3, 3), (25, 3, 2), (40, 6, 6)]:
        rng = np.random.default_rng(n + d + r)
        X = rng.uniform(-1, 1, size=(n, d))
        yield X, np.sin(3 * X[:, 0]) + X[:, -1] ** 2 + 0.1 * rng.normal(size=n), rng.normal(size=(r, d))


def main():
    import metric_learn

    def loss_and_gradient(X, y, A):
        model = metric_learn.MLKR()
        model.n_iter_, model.verbose = 0, False
        return model._loss(A.ravel(), X, y)

    found = [loss_and_gradient(*problem) for problem in problems()]
    values = [{"loss": float(loss), "gradient": np.ravel(gradient).tolist()} for loss, gradient in found]
    VALUES.write_text(json.dumps({"metric_learn": metric_learn.__version__, "values": values}, indent=1) + "\n")


if __name__ == "__main__":
    main()
