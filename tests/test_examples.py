"""Every example runs, in a process and a folder of its own, and says what its text promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("plot_*.py"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each example has printed, and the folder that it has drawn into."""
    results = {}

    def run(example):
        if example not in results:
            folder = tmp_path_factory.mktemp(example.stem)
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
            results[example] = finished.stdout, folder
        return results[example]

    return run


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
def test_example_runs(example, outputs):
    outputs(example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_begins_with_a_title_for_the_gallery(example):
    assert re.match(r'"""\n=+\n.+\n=+\n', example.read_text())


def test_quickstart_compares_weighs_and_converges(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_quickstart.py"))
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
    assert_pictures(folder, ["attention_heat_map.png", "quickstart.png"])


def test_attention_pooling_follows_the_chapter(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_attention_pooling.py"))
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
    assert_pictures(folder, ["leave_one_out.png", "attention_pooling.png"])


def numbers_after(label, printed):
    """The numbers in the line that begins with `label`."""
    line = next(line for line in printed.splitlines() if line.startswith(label))
    return [float(number) for number in re.findall(r"\d+\.\d+", line.removeprefix(label))]


def test_model_comparison_shows_what_a_scale_for_each_feature_buys(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_model_comparison.py"))
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
    assert_pictures(folder, ["model_comparison.png"])


def test_two_heads_are_a_safe_choice(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_two_heads.py"))
    heads = [numbers_after(label, printed) for label in ["Gaussian head", "exponential head"]]
    better = [min(errors) for errors in zip(*heads, strict=True)]
    for label, at_most in {
        "mean (VotingRegressor)": 1.02,
        "leave-one-out weights": 1.05,
    }.items():
        ratios = [error / of_head for error, of_head in zip(numbers_after(label, printed), better, strict=True)]
        assert len(ratios) == 4
        assert max(ratios) < at_most
    assert_pictures(folder, ["two_heads.png"])


def test_six_kernels_fit_alike_at_their_own_bandwidths(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_kernels.py"))
    errors = [float(line.split()[-1]) for line in printed.splitlines()[1:]]
    assert len(errors) == 6
    assert max(errors) < 1.3 * min(errors)
    assert_pictures(folder, ["kernels.png"])


def test_a_local_line_has_less_bias_at_the_edges(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_edges.py"))
    mean, line = (
        [abs(float(bias)) for bias in re.search(rf"{name} +(\S+) +(\S+) +(\S+)", printed).groups()]
        for name in ["weighted mean", "local line"]
    )
    assert mean[0] > 3 * line[0]
    assert mean[2] > 3 * line[2]
    assert_pictures(folder, ["edges.png"])


def test_the_chosen_bandwidth_predicts_best(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_bandwidth.py"))
    narrow, chosen, wide = (float(error) for error in re.findall(r"leave-one-out error (\S+)", printed))
    assert chosen < 0.8 * min(narrow, wide)
    assert_pictures(folder, ["bandwidth.png"])


def test_pipeline_and_search_find_the_rent(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_pipeline.py"))
    assert float(re.search(r"R\^2 on other flats: (\S+)", printed)[1]) > 0.85
    assert_pictures(folder, ["pipeline.png"])


def test_a_hundred_samples_carry_a_prediction(outputs):
    printed, folder = outputs(EXAMPLES[0].with_name("plot_sparse_attention.py"))
    stored, of = (int(number) for number in re.search(r"(\d+) of (\d+) weights", printed).groups())
    assert stored < of / 20
    assert "they predict: True" in printed
    changes = [float(change) for change in re.findall(r"top +100: .* by (\S+)", printed)]
    assert len(changes) == 2
    assert max(changes) < 0.02
    assert_pictures(folder, ["sparse_attention.png"])
