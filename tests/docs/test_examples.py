"""The build of the documentation runs every example, and finds those that break a promise of their text."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))


@pytest.fixture
def promises():
    spec = importlib.util.spec_from_file_location("promises", ROOT / "docs" / "_ext" / "promises.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_begins_with_a_title_for_the_gallery(example):
    assert re.match(r'"""\n=+\n.+\n=+\n', example.read_text())


def test_every_promise_is_of_an_example(promises):
    assert promises.PROMISES.keys() < {example.stem for example in EXAMPLES}


PAGE = """
Text.

.. rst-class:: sphx-glr-script-out

 .. code-block:: none

    narrow: leave-one-out error {narrow}
    chosen: leave-one-out error 1.0

More text.

.. rst-class:: sphx-glr-script-out

 .. code-block:: none


    wide: leave-one-out error 2.0{warning}



.. rst-class:: sphx-glr-timing
"""


@pytest.mark.parametrize(
    ("narrow", "warning", "contrast", "fault"),
    [
        (2.0, "", 1.0, None),
        (1.1, "", 1.0, "plot_bandwidth: assert chosen < 0.8"),
        (2.0, "\n    a.py:1: RuntimeWarning: overflow", 1.0, "plot_bandwidth: assert .*RuntimeWarning"),
        (2.0, "", 0.0, "plot_bandwidth: .* blank"),
        (2.0, "", None, "plot_bandwidth: no picture"),
    ],
)
def test_promises_that_are_broken_are_found(tmp_path, promises, narrow, warning, contrast, fault):
    from matplotlib.image import imsave

    (tmp_path / "plot_bandwidth.rst").write_text(PAGE.format(narrow=narrow, warning=warning))
    (tmp_path / "images").mkdir()
    if contrast is not None:
        stripes = np.tile(contrast * (np.arange(400.0) % 2), (400, 1))
        imsave(tmp_path / "images" / "sphx_glr_plot_bandwidth_001.png", stripes, cmap="gray", vmin=0.0, vmax=1.0)
    faults = promises.broken_promises(tmp_path)
    assert len(faults) == (fault is not None)
    assert fault is None or re.match(fault, faults[0])
