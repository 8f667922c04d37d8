"""What `multirecall experiment` prints."""

from __future__ import annotations

from rich.console import Console

from multirecall.cli.screen import print_table
from multirecall.cli.tables import plain_table
from multirecall.monitoring.experiments import METRICS, Design, ExperimentReport, Plan
from multirecall.monitoring.experiments.report import Effect
from multirecall.monitoring.experiments.sequential import FEWEST


def show_report(screen: Console, found: ExperimentReport, assumed: bool) -> None:
    """Arms, differences, preferences, and what to make of them; `assumed`: the shares are not known."""
    looks = "however often one looks" if found.sequential else "for this one look"
    screen.print(f"experiment {found.name}: intervals of {1 - found.alpha:.0%}, valid {looks}\n")
    table = plain_table("arm", "share", "users", *METRICS)
    for arm in found.arms:
        cells = (f"{one.value:.4f} ± {one.error:.4f}" for one in arm.metrics.values())
        mark = " (control)" if arm.name == found.control else ""
        table.add_row(f"{arm.name}{mark}", f"{arm.share:.1%}", f"{arm.users:,}", *cells)
    print_table(screen, table)
    if found.differences:
        table = plain_table("less the control", "metric", "difference", "interval", "p", "detectable", "outcome")
        for one in found.differences:
            table.add_row(one.arm, one.metric, *_cells(one.effect))
        print_table(screen, table)
    for own in found.preferences:
        table = plain_table("interleaved", "won by", "ties", "preference", "interval", "p", "detectable", "outcome")
        wins = f"{own.first} {own.wins[0]:,}, {own.second} {own.wins[1]:,}"
        table.add_row(own.arm, wins, f"{own.wins[2]:,}", *_cells(own.effect))
        print_table(screen, table)
        screen.print(f"above 0, users prefer {own.second}; sign test for one look: p = {own.sign_p:.3g}\n")
    _say_split(screen, found, assumed)
    for count, what in (
        (found.left_out["unidentified"], "answers to users without an id, for no event is known to be theirs"),
        (found.left_out["unjudged"], "answers after the last event"),
        (found.left_out["moved"], "users who had answers of several arms; were shares or salt changed?"),
    ):
        if count:
            screen.print(f"left out: {count:,} {what}")
    screen.print()
    for name, meaning in METRICS.items():
        screen.print(f"{name}: {meaning}; ± is the standard error over users")
    screen.print(
        f"p is adjusted over arms (Holm), intervals likewise (Bonferroni), not over metrics. detectable: what so many "
        f"users find with 80 %. too few: below {FEWEST} users nothing is said."
    )


def _cells(effect: Effect) -> tuple[str, str, str, str, str]:
    if effect.verdict == "too few":
        return f"{effect.value:+.4f}", "–", "–", "–", effect.verdict
    interval = f"{effect.low:+.4f} to {effect.high:+.4f}"
    return f"{effect.value:+.4f}", interval, f"{effect.p:.3g}", f"{effect.detectable:.4f}", effect.verdict


def _say_split(screen: Console, found: ExperimentReport, assumed: bool) -> None:
    shares = "equal shares, for want of --settings" if assumed else "the shares of the settings"
    if not found.mismatch.alarming:
        screen.print(f"users are split as {shares} say (p = {found.mismatch.p:.3g})")
        return
    counts = ", ".join(
        f"{arm.name} {arm.users:,} for {expected:,.0f}"
        for arm, expected in zip(found.arms, found.mismatch.expected, strict=True)
    )
    screen.print(
        f"WARNING: users are not split as {shares} say (p = {found.mismatch.p:.2g}): {counts}. Something other than "
        "the assignment decides who is seen in which arm, such as errors, bots, lost rows or changed shares. "
        "Do not trust any difference above before it is found.",
        style="bold red",
    )


def show_plan(screen: Console, planned: Plan, design: Design, baseline: float | None, split: int) -> None:
    """Users and effect of a plan; without a baseline, it is one of an interleaving."""
    effect = (
        f"a mean preference of {planned.effect:.4f}"
        if baseline is None
        else f"a difference of {planned.effect:.5f} ({planned.effect / baseline:.1%} of {baseline:.5f})"
    )
    screen.print(f"{planned.users:,} users find {effect} with a power of {design.power:.0%}")
    if design.looks is not None:
        screen.print(
            f"looking up to {design.looks} times and stopping when it is found, {planned.mean_users:,} on average"
        )
    if design.comparisons > 1:
        screen.print(
            f"for each of {design.comparisons} arms beside the control, false alarms of all {design.alpha:.0%}"
        )
    screen.print(f"a split of 50.5 to 49.5 in place of halves is noticed by {split:,} users with that power")
