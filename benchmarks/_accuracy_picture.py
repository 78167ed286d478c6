"""The picture of accuracy.py: the error of each model against the time of a fit."""

import sys

# Okabe and Ito's palette; the two groups differ by their markers as well.
OURS, PEERS = {"color": "#0072B2", "marker": "o"}, {"color": "#D55E00", "marker": "s"}
_LINE_HEIGHT = 0.035  # of a name, as a part of the height of the picture


def draw(points, ours, reference, path):
    """Draw {model: (seconds, ratio of errors to the reference)} and save the picture; `ours` are the package's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    ax.set_xscale("log")
    for title, style, group in ("scikit-nw", OURS, points.keys() & ours), ("others", PEERS, points.keys() - ours):
        ax.scatter(*zip(*(points[name] for name in group), strict=True), s=45, label=title, **style)
    ax.legend(frameon=False)
    errors = [ratio for _, ratio in points.values()]
    ax.set_ylim(min(errors) - 0.04, max(errors) + 0.04)
    ax.margins(x=0.3)
    for name, height in apart(points, ax.get_ylim()).items():
        color = (OURS if name in ours else PEERS)["color"]
        text = ax.annotate(name, (points[name][0], height), (9, 0), textcoords="offset points", va="center")
        text.set(color=color, path_effects=halo)
    ax.axhline(1.0, color="#888888", linewidth=1, linestyle="--", zorder=0)
    ax.set(
        xlabel="seconds of a fit on one thread, median over the data sets",
        ylabel=f"test error relative to {reference},\ngeometric mean over the data sets",
        title="Error and time: the lower and the further left, the better",
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    print(f"saved {path}", file=sys.stderr)


def apart(points, limits):
    """Heights of the names: those of the points, or a line above a name that is near."""
    line = _LINE_HEIGHT * (limits[1] - limits[0])
    heights = {}
    for name, (seconds, ratio) in sorted(points.items(), key=lambda point: point[1][1]):
        near = [heights[other] for other in heights if 1 / 4 < points[other][0] / seconds < 4]
        heights[name] = max([ratio, *(height + line for height in near if height + line > ratio)])
    return heights
