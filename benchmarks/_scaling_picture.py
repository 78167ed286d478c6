"""The log-log picture of scaling.py: seconds against n, a panel for each number of features."""

import sys

import numpy as np

# Okabe and Ito's palette: told apart by every kind of colour vision. Each line also bears its name and its marker.
STYLES = {
    "sknw gaussian": {"color": "#0072B2", "marker": "o", "linewidth": 2.2},
    "sknw epanechnikov": {"color": "#56B4E9", "marker": "s", "linewidth": 2.2},
    "sknw exponential": {"color": "#009E73", "marker": "^", "linewidth": 2.2},
    "fastlowess": {"color": "#E69F00", "marker": "D"},
    "fastlowess, exact": {"color": "#E69F00", "marker": "d", "linestyle": "--"},
    "fastlpr": {"color": "#D55E00", "marker": "v"},
    "KNeighborsRegressor": {"color": "#CC79A7", "marker": "P"},
    "rgram": {"color": "#000000", "marker": "X"},
    "kernelsmooth": {"color": "#000000", "marker": "*", "linestyle": "--"},
    "statsmodels KernelReg": {"color": "#000000", "marker": "h", "linestyle": ":"},
    "np.argsort": {"color": "#888888", "marker": "", "linestyle": "-", "linewidth": 1.2},
}
LABELS = {"KNeighborsRegressor": "KNN, grid search", "statsmodels KernelReg": "statsmodels"}
_LINE_HEIGHT = 2.0  # of labels at the same n, as a factor in seconds


def draw(records, path):
    """Draw the times in `records`, of smoothers that choose their bandwidth, and save the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first, *others = sorted({record["d"] for record in records})
    mosaic = [[first] * len(others), others] if others else [[first]]
    figure, axes = plt.subplot_mosaic(mosaic, figsize=(9, 4.8 * len(mosaic)), layout="constrained", sharey=True)
    for d, ax in axes.items():
        draw_panel(ax, [record for record in records if record["d"] == d])
        ax.set(title=f"{d} feature{'s' * (d > 1)}", xlabel="number of samples, n", ylabel="seconds")
    figure.suptitle("Time to choose the bandwidth and predict at all n samples")
    figure.savefig(path, dpi=150)
    print(f"saved {path}", file=sys.stderr)


def lines_of(records):
    """Sizes and seconds of each smoother, and of np.argsort."""
    lines = {}
    for record in records:
        lines.setdefault(record["name"], []).append((record["n"], record["seconds"]))
    sizes = sorted({record["n"] for record in records})
    argsort = [(n, np.median([record["argsort"] for record in records if record["n"] == n])) for n in sizes]
    return lines | {"np.argsort": argsort}


def draw_panel(ax, records):
    """Each line with its name at its end: what ends last is named outside the frame."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    lines = lines_of(records)
    for name, points in lines.items():
        ax.loglog(*zip(*points, strict=True), markersize=5, **({"linewidth": 1.5} | STYLES[name]))
    for n in {points[-1][0] for points in lines.values()}:
        ends = {name: points[-1][1] for name, points in lines.items() if points[-1][0] == n}
        for name, height in apart(ends).items():
            place, side = ((-6, 6), "right") if is_named_left(name, lines) else ((9, 0), "left")
            text = ax.annotate(LABELS.get(name, name), (n, height), place, textcoords="offset points", va="center")
            text.set(ha=side, color=STYLES[name]["color"], fontsize=9, path_effects=halo)
    ax.xaxis.set_ticks(sorted({record["n"] for record in records}))
    ax.margins(y=0.1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)


def is_named_left(name, lines):
    """Whether there is no room to the right, where others go on, and some to the left, above a line."""
    sizes = [n for n, _ in lines["np.argsort"]]
    n_before = sizes.index(lines[name][-1][0])
    return n_before < len(sizes) - 1 and (n_before > 1 or (n_before == 1 and name.startswith("sknw")))


def apart(ends):
    """Heights for labels that end at the same n: in order, at least a line apart, about where the lines end."""
    heights = {}
    lowest = 0.0
    for name, seconds in sorted(ends.items(), key=lambda end: end[1]):
        heights[name] = max(seconds, lowest)
        lowest = heights[name] * _LINE_HEIGHT
    return heights
