"""The learned numbers as one vector: bounds, packing, and the chain rule."""

from __future__ import annotations

import numpy as np

STRUCTURES = ("scalar", "diagonal", "low_rank", "full")

# What scalar and diagonal w may be, in standardised inputs; the smallest is as good as zero.
W_BOUNDS = (1e-3, 1e4)
RIDGE_BOUNDS = (1e-8, 1e3)


class Parametrization:
    """W and the ridge as the vector that is minimised over: log w of scalar and diagonal, W of matrices; log ridge."""

    def __init__(self, shape: tuple[int, ...], structure: str, with_ridge: bool):
        self.shape, self.structure, self.with_ridge = shape, structure, with_ridge
        self.n_w = 1 if structure == "scalar" else int(np.prod(shape))
        self.n_ridge = 0 if not with_ridge else 1 if structure == "scalar" else shape[0]
        self.in_logs = len(shape) == 1
        w_bounds = tuple(np.log(W_BOUNDS).tolist()) if self.in_logs else (None, None)
        self.bounds = [w_bounds] * self.n_w + [tuple(np.log(RIDGE_BOUNDS).tolist())] * self.n_ridge

    def packed(self, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        w = np.log(np.clip(np.abs(w), *W_BOUNDS)) if self.in_logs else w.ravel()
        return np.append(w[: self.n_w], np.log(np.clip(ridge[: self.n_ridge], *RIDGE_BOUNDS)))

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
