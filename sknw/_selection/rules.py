"""Names of the selectors, and rules of thumb for the bandwidth."""

from __future__ import annotations

CRITERIA = ("aicc", "gcv", "loo")
RULES = ("scott", "silverman")


def rule_of_thumb(rule: str, n: float, d: int) -> float:
    """The factor c: Scott's n^(-1 / (d + 4)) or Silverman's (n (d + 2) / 4)^(-1 / (d + 4)), n the sum of weights."""
    base = n if rule == "scott" else n * (d + 2) / 4
    return float(base ** (-1 / (d + 4)))
