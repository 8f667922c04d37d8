"""What is advised for which figures, and a page that escapes what it shows."""

from __future__ import annotations

import numpy as np
import pytest

from multirecall.monitoring.drift import DriftReport, Figure, Histograms, compare_vectors, drift_page
from multirecall.monitoring.drift.report import Group, advise


def figure(group: Group, alarm: bool, name: str = "") -> Figure:
    unit = "drop" if group == "recall" else "PSI"
    return Figure(name or group, group, 0.5 if alarm else 0.1, unit, 0.25, "past", past=(0.1, 0.2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alarms", "recall", "action"),
    [
        ([], None, "nothing"),
        ([], "held", "nothing"),
        ([], "fell", "refresh"),
        (["catalogue"], None, "refresh"),
        (["catalogue"], "held", "nothing"),
        (["catalogue"], "fell", "refresh"),
        (["features"], "fell", "refresh"),
        (["paths"], None, "retune"),
        (["paths"], "held", "retune"),
        (["paths"], "fell", "retune"),
        (["paths", "catalogue"], "fell", "refresh"),
        (["paths", "catalogue"], "held", "nothing"),
        (["vectors"], "held", "nothing"),
    ],
    ids=str,
)
def test_what_is_advised(alarms: list[Group], recall: str | None, action: str) -> None:
    groups: tuple[Group, ...] = ("catalogue", "users", "features", "paths", "vectors")
    figures = [figure(group, group in alarms) for group in groups]
    if recall:
        figures.append(figure("recall", recall == "fell"))
    advice = advise(figures)
    assert advice.action == action
    named = " ".join(advice.reasons)
    assert all(group in named for group in alarms)


def test_a_change_counts_to_either_side() -> None:
    down = Figure("p empty", "paths", -0.3, "change", 0.25, "stated")
    assert down.alarm
    assert down.ratio == pytest.approx(1.2)
    assert not Figure("p", "features", -0.3, "PSI", 0.25, "stated").alarm


def test_the_page_escapes_names_and_needs_nothing_else() -> None:
    figures = (figure("catalogue", alarm=True, name="item <script>x</script>"), figure("paths", alarm=False))
    vectors = (compare_vectors("p", np.eye(12), np.eye(12)[::-1].copy()),)
    scores = {"<b>": Histograms((0.0, 1.0, 2.0), (0.5, 0.5), (0.2, 0.8))}
    report = DriftReport(figures, advise(figures), {"a & b": "c"}, ("a note",), scores, vectors)
    text = drift_page(report)
    assert "<script>" not in text
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert text.count('src="data:image/svg+xml;base64,') == 4
    assert report.to_dict()["figures"][0]["alarm"] is True
