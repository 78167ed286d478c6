"""The code of the guide's page on other packages runs, each section after the data of the first."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "interop.rst"
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:(?: {3}.*)?\n)+)", re.MULTILINE)
DATA, *SECTIONS = re.split(r"^\.\. _interop-", PAGE.read_text(), flags=re.MULTILINE)


def code_of(section):
    return "".join(re.sub("^   ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(section))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(":")[0])
def test_the_code_runs(section):
    exec(compile(code_of(DATA) + code_of(section), str(PAGE), "exec"), {"__name__": "guide"})


def test_the_code_is_found():
    assert "model =" in code_of(DATA)
    assert all(code_of(section) for section in SECTIONS)
