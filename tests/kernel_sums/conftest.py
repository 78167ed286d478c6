"""Small requests of one feature take expansions here, which elsewhere begin where they save time."""

import pytest

from sknw._kernel_sums.fast_gauss.line import GaussianLine


@pytest.fixture(autouse=True)
def expansions_of_few_points(monkeypatch):
    def may_pay(self, bandwidth):
        return len(self.line.keys) > 0 and not self.request.has_ranges

    monkeypatch.setattr(GaussianLine, "_expansions_may_pay", may_pay)
