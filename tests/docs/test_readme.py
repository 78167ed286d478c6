"""README: its Python is a doctest, its shell commands are what .ci/run runs, its pictures and links are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_block_of_code_is_executed():
    """pytest runs those with prompts, and .ci/run those with a name."""
    blocks = re.findall(r"([^\n]*)\n```(\w*)\n(.*?)\n```", README, re.DOTALL)
    assert {language for _, language, _ in blocks} == {"python", "sh"}
    assert all(code.startswith(">>> ") for _, language, code in blocks if language == "python")
    commands = [re.fullmatch("<!-- command: (.*) -->", before)[1] for before, language, _ in blocks if language == "sh"]
    run_by_ci = re.findall(r"readme_command (\w+)\)", (ROOT / ".ci" / "run").read_text())
    assert sorted(commands) == sorted(run_by_ci)


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert "docs/images/overview.png" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
