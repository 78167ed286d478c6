"""`benchmarks/mutations.py` changes lines that are there: who changes one of them changes it there, too."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_mutation_finds_its_line():
    mutations = runpy.run_path(str(ROOT / "benchmarks" / "mutations.py"))["MUTATIONS"]
    times = {mutation: (ROOT / "sknw" / mutation.file).read_text().count(mutation.old) for mutation in mutations}
    assert {mutation for mutation, count in times.items() if count != 1} == set()
