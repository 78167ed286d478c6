"""Few combinations of many parameters that hold every pair: a covering array in place of the full cross.

Most defects that depend on parameters at all depend on one or two of them (Kuhn, Wallace & Gallo 2004), and a cross of
ten parameters has thousands of rows where all pairs fit into some sixty.
"""

from itertools import combinations

import pytest


def covering_array(cases=({},), /, **levels):
    """Rows (dicts) in which every pair of levels of two parameters occurs; greedy, the same at every call.

    `levels` are lists of the values of parameters that go with all others. `cases` are dicts of those that do not: all
    combinations of them that are allowed, such as an engine with a kernel that it can sum; pairs that occur in no case
    are left out.
    """
    # a level is known by its place, for values need not be hashable
    values = {name: [] for name in cases[0]} | {name: list(of_name) for name, of_name in levels.items()}
    coded = []
    for case in cases:
        for name, value in case.items():
            if value not in values[name]:
                values[name].append(value)
        coded.append({name: values[name].index(value) for name, value in case.items()})
    free = {name: range(len(values[name])) for name in levels}

    wanted = {}  # in order, as a dict keeps it
    for first, second in combinations(values, 2):
        if first in free:
            found = [(i, j) for i in free[first] for j in free[second]]
        elif second in free:
            found = [(case[first], j) for case in coded for j in free[second]]
        else:
            found = [(case[first], case[second]) for case in coded]
        wanted |= dict.fromkeys(frozenset([(first, i), (second, j)]) for i, j in found)
    used = dict.fromkeys(((name, i) for name in values for i in range(len(values[name]))), 0)

    def gain(new, row):
        """The pairs that levels add to a row, then the least used levels."""
        together = [*row.items(), *new.items()]
        pairs = sum(frozenset([a, b]) in wanted for a in new.items() for b in together if a[0] != b[0])
        return pairs, -sum(used[level] for level in new.items())

    rows = []
    while wanted:
        start = dict(next(iter(wanted)))
        fitting = [case for case in coded if all(case.get(name, i) == i for name, i in start.items())]
        fixed = {name: i for name, i in start.items() if name in free}
        row = fixed | max(fitting, key=lambda case: gain(case, fixed))
        for name, places in free.items():
            if name not in row:
                row[name] = max(places, key=lambda i: gain({name: i}, row))
        for pair in combinations(row.items(), 2):
            wanted.pop(frozenset(pair), None)
        for level in row.items():
            used[level] += 1
        rows.append(row)
    return [{name: values[name][row[name]] for name in values} for row in rows]


def describe(row):
    """A name for pytest: the levels of a row."""
    return "-".join(str(value) for value in row.values())


def pairwise(cases=({},), /, **levels):
    """Run a test with the rows of a covering array."""
    rows = covering_array(cases, **levels)
    return pytest.mark.parametrize(list(rows[0]), [tuple(row.values()) for row in rows])
