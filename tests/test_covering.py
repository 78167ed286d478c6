"""The covering arrays that other tests take their cases from."""

from itertools import combinations, product

import pytest
from covering import covering_array

LEVELS = {
    "two": {"a": [1, 2, 3], "b": "xyz"},
    "many": {"a": range(11), "b": range(5), "c": range(4), "d": range(3), "e": [False, True], "f": [None, 3]},
}


def pairs(rows):
    return {pair for row in rows for pair in combinations(row.items(), 2)}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_every_pair_of_levels_occurs(levels):
    whole = [dict(zip(levels, row, strict=True)) for row in product(*levels.values())]
    array = covering_array(**levels)
    assert pairs(array) == pairs(whole)
    assert {item for row in array for item in row.items()} == {item for row in whole for item in row.items()}
    assert array == covering_array(**levels)


def test_few_rows_hold_all_pairs():
    assert len(covering_array(**LEVELS["many"])) <= 60  # 55 are needed for the first two; the cross has 2640


def test_parameters_that_do_not_go_with_all_others_come_in_cases():
    cases = [{"kernel": i, "engine": j} for i in range(6) for j in range(4) if i % 2 == 0 or j == 0]
    levels = {"c": [1, 2, 3], "d": [False, True]}
    whole = [case | {"c": c, "d": d} for case in cases for c in [1, 2, 3] for d in [False, True]]
    array = covering_array(cases, **levels)
    assert all(row in whole for row in array)
    assert pairs(array) == pairs(whole)
    assert len(array) < 25


def test_values_need_not_be_hashable():
    assert len(covering_array(a=[[1], [2]], b=[{}, {1: 2}])) == 4
