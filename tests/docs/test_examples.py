"""Every example runs, in a process and a folder of its own, and says what its text promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("plot_*.py"))
# Those that a test of their own runs: two processes of tests would run them twice.
WITH_A_TEST = set()


def of_example(name):
    """Mark the test that holds an example to its text."""
    WITH_A_TEST.add(FOLDER / name)
    return pytest.mark.parametrize("example", [FOLDER / name], ids=[name])


def run(example, folder):
    """What an example prints; it draws into the folder."""
    environment = os.environ | {
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "OMP_NUM_THREADS": "1",  # threads of BLAS wait for each other where other tests run at the same time
    }
    finished = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", str(example)],
        **{"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def assert_pictures(folder, names):
    """Each is there, of a size to look at, and not blank."""
    from matplotlib.image import imread

    for name in names:
        picture = imread(folder / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05, "the picture is blank"


def test_there_is_a_quickstart():
    assert "plot_quickstart.py" in [example.name for example in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_begins_with_a_title_for_the_gallery(example):
    assert re.match(r'"""\n=+\n.+\n=+\n', example.read_text())


@of_example("plot_quickstart.py")
def test_quickstart_compares_weighs_and_converges(example, tmp_path):
    printed = run(example, tmp_path)
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
    assert_pictures(tmp_path, ["attention_heat_map.png", "quickstart.png"])


@of_example("plot_attention_pooling.py")
def test_attention_pooling_follows_the_chapter(example, tmp_path):
    printed = run(example, tmp_path)
    average, nonparametric, parametric = (float(error) for error in re.findall(r"pooling: RMSE (\d+\.\d+)", printed))
    assert average > 1.3 * nonparametric > 2 * parametric
    assert printed.count("same as the formula: True") == 2
    w, at_minimum, chosen = (
        float(re.search(rf"{words} ([\d.]+)", printed)[1])
        for words in ["with w =", "least leave-one-out error:", "chosen by leave-one-out:"]
    )
    assert w == pytest.approx(chosen, abs=0.02)
    assert w == pytest.approx(at_minimum, rel=0.06), "the grid of the picture has steps of 5 %"
    before, after = (float(size) for size in re.findall(r"attends to (\S+) samples", printed))
    assert after < before / 2
    assert_pictures(tmp_path, ["leave_one_out.png", "attention_pooling.png"])


def numbers_after(label, printed):
    """The numbers in the line that begins with `label`."""
    line = next(line for line in printed.splitlines() if line.startswith(label))
    return [float(number) for number in re.findall(r"\d+\.\d+", line.removeprefix(label))]


@of_example("plot_model_comparison.py")
def test_model_comparison_shows_what_a_scale_for_each_feature_buys(example, tmp_path):
    printed = run(example, tmp_path)
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
    assert_pictures(tmp_path, ["model_comparison.png"])


@of_example("plot_table.py")
def test_a_table_is_predicted_tested_and_drawn_without_an_encoder(example, tmp_path):
    printed = run(example, tmp_path)
    ours, boosting = numbers_after("R^2 on other hours:", printed), numbers_after("gradient boosting:", printed)
    assert ours[0] > boosting[0] > 0.7
    assert "change over midnight: 0.0e+00" in printed
    for column in ["hour", "day", "weather", "temperature"]:
        assert numbers_after(column + " ", printed)[1] <= 0.01
    assert numbers_after("moon", printed)[1] > 0.05
    assert_pictures(tmp_path, ["table.png", "table_days.png"])


@of_example("plot_two_heads.py")
def test_two_heads_are_a_safe_choice(example, tmp_path):
    printed = run(example, tmp_path)
    heads = [numbers_after(label, printed) for label in ["Gaussian head", "exponential head"]]
    better = [min(errors) for errors in zip(*heads, strict=True)]
    for label, at_most in {
        "mean (VotingRegressor)": 1.02,
        "leave-one-out weights": 1.05,
    }.items():
        ratios = [error / of_head for error, of_head in zip(numbers_after(label, printed), better, strict=True)]
        assert len(ratios) == 4
        assert max(ratios) < at_most
    assert_pictures(tmp_path, ["two_heads.png"])


@of_example("plot_kernels.py")
def test_six_kernels_fit_alike_at_their_own_bandwidths(example, tmp_path):
    printed = run(example, tmp_path)
    errors = [float(line.split()[-1]) for line in printed.splitlines()[1:]]
    assert len(errors) == 6
    assert max(errors) < 1.3 * min(errors)
    assert_pictures(tmp_path, ["kernels.png"])


@of_example("plot_edges.py")
def test_a_local_line_has_less_bias_at_the_edges(example, tmp_path):
    printed = run(example, tmp_path)
    mean, line = (
        [abs(float(bias)) for bias in re.search(rf"{name} +(\S+) +(\S+) +(\S+)", printed).groups()]
        for name in ["weighted mean", "local line"]
    )
    assert mean[0] > 3 * line[0]
    assert mean[2] > 3 * line[2]
    assert_pictures(tmp_path, ["edges.png"])


@of_example("plot_bandwidth.py")
def test_the_chosen_bandwidth_predicts_best(example, tmp_path):
    printed = run(example, tmp_path)
    narrow, chosen, wide = (float(error) for error in re.findall(r"leave-one-out error (\S+)", printed))
    assert chosen < 0.8 * min(narrow, wide)
    assert_pictures(tmp_path, ["bandwidth.png"])


@of_example("plot_pipeline.py")
def test_pipeline_and_search_find_the_rent(example, tmp_path):
    printed = run(example, tmp_path)
    assert float(re.search(r"R\^2 on other flats: (\S+)", printed)[1]) > 0.85
    assert_pictures(tmp_path, ["pipeline.png"])


@of_example("plot_sparse_attention.py")
def test_a_hundred_samples_carry_a_prediction(example, tmp_path):
    printed = run(example, tmp_path)
    stored, of = (int(number) for number in re.search(r"(\d+) of (\d+) weights", printed).groups())
    assert stored < of / 20
    assert "they predict: True" in printed
    changes = [float(change) for change in re.findall(r"top +100: .* by (\S+)", printed)]
    assert len(changes) == 2
    assert max(changes) < 0.02
    assert_pictures(tmp_path, ["sparse_attention.png"])


@of_example("plot_time_series.py")
def test_leaving_out_a_fortnight_predicts_hidden_months_honestly(example, tmp_path):
    printed = run(example, tmp_path)
    (near, r2_near), (far, r2_far) = re.findall(r"bandwidth +([\d.]+) days, R\^2 ([\d.]+)", printed)
    assert float(near) < 3 < 7 < float(far) < 30
    assert float(re.search(r"asked for more: R\^2 (\S+)", printed)[1]) < float(r2_far) < float(r2_near)
    (covered_near, hidden_near), (covered_far, hidden_far) = re.findall(r"covered (\S+), R\^2 (\S+)", printed)
    assert float(covered_near) < 0.8 < 0.87 < float(covered_far)
    assert float(hidden_near) < float(hidden_far) - 0.1
    assert_pictures(tmp_path, ["time_series.png"])


@of_example("plot_classification.py")
def test_classification_learns_which_features_matter(example, tmp_path):
    printed = run(example, tmp_path)
    loss = {line[:20].strip(): float(line[30:35]) for line in printed.splitlines() if ", fit " in line}
    assert loss["attention pooling"] < min(loss["Nadaraya-Watson"], loss["nearest neighbours"]) - 0.1
    left_out = float(re.search(r"leave-one-out log loss ([\d.]+)", printed)[1])
    assert abs(left_out - loss["attention pooling"]) < 0.06
    assert float(re.search(r"accuracy ([\d.]+)", printed)[1]) > 0.85
    assert_pictures(tmp_path, ["classification.png", "class_attention.png"])


@pytest.mark.parametrize("example", sorted({*EXAMPLES} - WITH_A_TEST), ids=lambda example: example.name)
def test_example_runs(example, tmp_path):
    run(example, tmp_path)
