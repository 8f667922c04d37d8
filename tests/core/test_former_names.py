"""Names of earlier releases go on working, with a warning that says the new one."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("module", "former", "now"),
    [
        ("multirecall.evaluation", "made_split", "make_split"),
        ("multirecall.evaluation", "given_split", "split_of_logs"),
        ("multirecall.evaluation", "retrieved", "retrieve_lists"),
        ("multirecall.evaluation", "scored", "score_lists"),
        ("multirecall.evaluation", "explained", "explain_metrics"),
        ("multirecall.evaluation", "checked_ks", "check_ks"),
        ("multirecall.tuning", "measured", "compare_on"),
        ("multirecall.data", "Runs", "EventLog"),
    ],
)
def test_former_names_work_and_warn(module: str, former: str, now: str) -> None:
    place = import_module(module)
    with pytest.warns(DeprecationWarning, match=f"multirecall: {module}.{former} is now called {module}.{now}"):
        found = getattr(place, former)
    assert found is getattr(place, now)


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(import_module("multirecall.tuning"), "nothing")  # noqa: B009 - the name is looked up at run time
