"""The examples and the script of the picture of README print and draw what is promised, or the build fails."""

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

from matplotlib.image import imread

# name of the example: a function of what it prints, which asserts
PROMISES = {}


def of_example(name):
    """Mark the function that holds an example to its text."""

    def keep(promise):
        PROMISES[name] = promise
        return promise

    return keep


def printed_by(page):
    """What the example of a page of the gallery has printed, from the page's source."""
    blocks = re.findall(r"^ \.\. code-block:: none\n\n((?: {4}.*\n|\n)+)", page, re.MULTILINE)
    return "\n".join(dedent(block).strip("\n") for block in blocks)


def numbers_after(label, printed):
    """The numbers in the line that begins with `label`."""
    line = next(line for line in printed.splitlines() if line.startswith(label))
    return [float(number) for number in re.findall(r"\d+\.\d+", line.removeprefix(label))]


@of_example("plot_quickstart")
def compares_weighs_and_converges(printed):
    scores = {line[:32].strip(): float(line[32:42]) for line in printed.splitlines() if line.endswith(" ms")}
    assert any("Nadaraya-Watson" in name for name in scores)
    assert any("neighbours" in name for name in scores)
    assert any("Gaussian process" in name for name in scores)
    assert all(0.2 < score < 0.7 for score in scores.values())
    assert "rows sum to 1: True" in printed
    assert "weights @ y is the prediction: True" in printed
    average, pooled = (
        float(re.search(rf"RMSE of {name}: ([\d.]+)", printed)[1]) for name in ["average pooling", "Nadaraya-Watson"]
    )
    assert pooled < average / 2
    slope = float(re.search(r"slope of the median error: (\S+)", printed)[1])
    assert -0.55 < slope < -0.25


@of_example("plot_attention_pooling")
def follows_the_chapter(printed):
    average, nonparametric, parametric = (float(error) for error in re.findall(r"pooling: RMSE (\d+\.\d+)", printed))
    assert average > 1.3 * nonparametric > 2 * parametric
    assert printed.count("same as the formula: True") == 2
    w, at_minimum, chosen = (
        float(re.search(rf"{words} ([\d.]+)", printed)[1])
        for words in ["with w =", "least leave-one-out error:", "chosen by leave-one-out:"]
    )
    assert abs(w - chosen) < 0.02
    assert abs(w / at_minimum - 1.0) < 0.06, "the grid of the picture has steps of 5 %"
    before, after = (float(size) for size in re.findall(r"attends to (\S+) samples", printed))
    assert after < before / 2


@of_example("plot_model_comparison")
def a_scale_for_each_feature_is_better(printed):
    rmse = {
        label: numbers_after(label, printed)[::2]  # fit times between them
        for label in ["nearest neighbours, tuned", "Nadaraya-Watson", "attention, degree 1"]
    }
    assert all(len(errors) == 4 for errors in rmse.values())
    for other in ["nearest neighbours, tuned", "Nadaraya-Watson"]:
        ratios = [ours / theirs for ours, theirs in zip(rmse["attention, degree 1"], rmse[other], strict=True)]
        assert ratios[0] < 1.05, "diabetes: no worse"
        assert max(ratios[1:]) < 0.8
    weights = numbers_after("friedman1, weights for degree 0:", printed)
    assert len(weights) == 10
    assert min(weights[:5]) > max(weights[5:])


@of_example("plot_table")
def a_table_is_predicted_and_tested_without_an_encoder(printed):
    ours, boosting = numbers_after("R^2 on other hours:", printed), numbers_after("gradient boosting:", printed)
    assert ours[0] > boosting[0] > 0.7
    assert "change over midnight: 0.0e+00" in printed
    for column in ["hour", "day", "weather", "temperature"]:
        assert numbers_after(column + " ", printed)[1] <= 0.01
    assert numbers_after("moon", printed)[1] > 0.05


@of_example("plot_two_heads")
def leave_one_out_weights_of_two_heads_are_a_safe_choice(printed):
    heads = [numbers_after(label, printed) for label in ["Gaussian head", "exponential head"]]
    better = [min(errors) for errors in zip(*heads, strict=True)]
    mean, weighted = (
        [error / of_head for error, of_head in zip(numbers_after(label, printed), better, strict=True)]
        for label in ["mean (VotingRegressor)", "leave-one-out weights"]
    )
    assert len(weighted) == 4
    assert max(weighted) < 1.03
    assert min(weighted) < 1.0
    assert max(weighted) < max(mean) < 1.1


@of_example("plot_kernels")
def six_kernels_fit_alike_at_their_own_bandwidths(printed):
    errors = [float(line.split()[-1]) for line in printed.splitlines()[1:]]
    assert len(errors) == 6
    assert max(errors) < 1.3 * min(errors)


@of_example("plot_edges")
def a_local_line_has_less_bias_at_the_edges(printed):
    mean, line = (
        [abs(float(bias)) for bias in re.search(rf"{name} +(\S+) +(\S+) +(\S+)", printed).groups()]
        for name in ["weighted mean", "local line"]
    )
    assert mean[0] > 3 * line[0]
    assert mean[2] > 3 * line[2]


@of_example("plot_bandwidth")
def the_chosen_bandwidth_predicts_best(printed):
    narrow, chosen, wide = (float(error) for error in re.findall(r"leave-one-out error (\S+)", printed))
    assert chosen < 0.8 * min(narrow, wide)


@of_example("plot_pipeline")
def pipeline_and_search_find_the_rent(printed):
    assert float(re.search(r"R\^2 on other flats: (\S+)", printed)[1]) > 0.85


@of_example("plot_sparse_attention")
def a_hundred_samples_carry_a_prediction(printed):
    stored, of = (int(number) for number in re.search(r"(\d+) of (\d+) weights", printed).groups())
    assert stored < of / 20
    assert "they predict: True" in printed
    changes = [float(change) for change in re.findall(r"top +100: .* by (\S+)", printed)]
    assert len(changes) == 2
    assert max(changes) < 0.02


@of_example("plot_time_series")
def leaving_out_a_fortnight_predicts_hidden_months_honestly(printed):
    (near, r2_near), (far, r2_far) = re.findall(r"bandwidth +([\d.]+) days, R\^2 ([\d.]+)", printed)
    assert float(near) < 3 < 7 < float(far) < 30
    assert float(re.search(r"asked for more: R\^2 (\S+)", printed)[1]) < float(r2_far) < float(r2_near)
    (covered_near, hidden_near), (covered_far, hidden_far) = re.findall(r"covered (\S+), R\^2 (\S+)", printed)
    assert float(covered_near) < 0.8 < 0.87 < float(covered_far)
    assert float(hidden_near) < float(hidden_far) - 0.1


@of_example("plot_classification")
def classification_learns_which_features_matter(printed):
    loss = {line[:20].strip(): float(line[30:35]) for line in printed.splitlines() if ", fit " in line}
    assert loss["attention pooling"] < min(loss["Nadaraya-Watson"], loss["nearest neighbours"]) - 0.1
    left_out = float(re.search(r"leave-one-out log loss ([\d.]+)", printed)[1])
    assert abs(left_out - loss["attention pooling"]) < 0.06
    assert float(re.search(r"accuracy ([\d.]+)", printed)[1]) > 0.85


def broken_promises(gallery):
    """What is wrong with the examples whose pages are in this folder: a number, a warning, a picture."""
    faults = []
    for page in sorted(gallery.glob("plot_*.rst")):
        printed = printed_by(page.read_text(encoding="utf-8"))
        try:
            assert "RuntimeWarning: " not in printed
            PROMISES.get(page.stem, lambda printed: None)(printed)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            faults.append(f"{page.stem}: {place.line} ({error!r}) after it has printed\n{printed}")
        pictures = [imread(path)[..., :3] for path in sorted(gallery.glob(f"images/sphx_glr_{page.stem}_???.png"))]
        if not pictures:
            faults.append(f"{page.stem}: no picture")
        if any(min(picture.shape[:2]) < 300 or picture.std() <= 0.05 for picture in pictures):
            faults.append(f"{page.stem}: a picture is small or blank")
    return faults


def changed_overview(folder):
    """What is wrong with the picture of README in this folder: that its script draws another one."""
    with TemporaryDirectory() as elsewhere:
        environment = os.environ | {"MPLBACKEND": "Agg"}
        subprocess.run([sys.executable, folder / "overview.py"], cwd=elsewhere, env=environment, check=True)
        drawn, kept = imread(Path(elsewhere, "overview.png")), imread(folder / "overview.png")
    is_same = drawn.shape == kept.shape and abs(drawn - kept).mean() < 0.05
    return [] if is_same else ["overview.png: its script draws another picture"]


def check(app, exception):
    if exception is not None:
        return
    faults = broken_promises(Path(app.srcdir, "gallery")) + changed_overview(Path(app.srcdir, "images"))
    if faults:
        raise RuntimeError("examples without what they promise:\n" + "\n".join(faults))


def setup(app):
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
