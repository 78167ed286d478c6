"""Along which features local lines have a slope.

Of many features most do not matter, and a line that has no slope along them takes less time: their ridge is infinite.
With H = C + R of all features that have one, u = H^-1 (x - x_mean) and b = H^-1 c, the value at the query is m without
the slope along feature k where it is

    m_-k = m - u_k b_k / (H^-1)_kk

(Gaussian elimination). So the loss without each of the slopes follows from one inverse at each query. Of more columns
than samples it is that of the inputs along rows: with T = (R^-1/2 Q)' and H' = C' + rho I, see `loss.along_rows`,

    H^-1 = R^-1 - T' (I / rho - H'^-1) T.
"""

from __future__ import annotations

import numpy as np

from sknw._metric.loss import Loss, along_rows
from sknw._smoothing.unsupported import UnsupportedPolicy


def rises_without_slopes(loss: Loss, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """By how much the objective rises without the slope along each feature, (d,); 0 for those that have none.

    For a feature of several columns this is the most that it rises without one of them.
    """
    smoother, training = loss.smoother_at(w, ridge), loss.training
    columns = training.features.repeat(ridge)
    has_slope, values, rows = np.isfinite(columns), smoother.values, loss.validation.rows
    weights = training.sample_weight[rows]
    losses, before = np.zeros(len(columns)), 0.0
    smoother, ridges, to_columns = along_rows(smoother, columns[has_slope])
    for batch, part, queries, _ in smoother.left_out(loss.validation):
        moments, unsupported = part.local_moments(queries)
        inverse = np.linalg.inv(moments.xx[0] + np.diag(ridges))
        u = np.einsum("mcd,md->mc", inverse, queries.x - moments.x_mean[0])
        slope, diagonal = inverse @ moments.xy[0], np.einsum("mcc->mc", inverse)
        m = moments.y_mean + np.einsum("mc,mck->mk", u, moments.xy[0])
        if to_columns is not None:
            less = np.array([((np.diag(1.0 / ridges) - one) @ to_columns * to_columns).sum(axis=0) for one in inverse])
            u, slope = u @ to_columns, np.einsum("mrk,rc->mck", slope, to_columns)
            diagonal = 1.0 / columns[has_slope] - less
        shares = (u / diagonal)[..., np.newaxis] * slope
        m = UnsupportedPolicy(part.policy, part.value_request(queries)).put(m, unsupported)[0]
        y, share_of_rows = values[rows[batch]], weights[batch] / weights.sum()
        before += float(share_of_rows @ loss.datafit.losses(y, m))
        losses[has_slope] += [share_of_rows @ loss.datafit.losses(y, m - shares[:, c]) for c in range(shares.shape[1])]
    losses[~has_slope] = before
    rises = [loss.datafit.objective(without)[0] - loss.datafit.objective(before)[0] for without in losses.tolist()]
    features = training.features
    return np.array(rises) if features.is_identity else np.maximum.reduceat(rises, features.starts[:-1])
