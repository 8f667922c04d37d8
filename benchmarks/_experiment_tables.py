"""The tables of experiments."""

from __future__ import annotations

from _tables import result, table


def experiments() -> str:
    """False alarms, power, interleaving and splits on simulated users."""
    figures = result("experiments")
    alarms = [
        [
            f"{metric}, {users}",
            *(f"{one[name]:.1%}" for name in ("planned_005", "planned_03", "ordinary", "ordinary_at_end")),
        ]
        for users, own in figures["aa"].items()
        for metric, one in own.items()
    ]
    powers = [
        [
            f"{one['baseline']:.0%} + {one['lift']:.0%}, share {one['share']:.0%}",
            str(one["looks"] or "once"),
            f"{one['users']:,}",
            f"{one['power']:.1%}",
            f"{one['planned_mean_users']:,}",
            f"{one['mean_users']:,.0f}",
        ]
        for one in figures["powers"]
    ]
    both = figures["interleaving"]
    needs = [
        [
            name,
            f"{both[name]['ab_users']:,}",
            f"{both[name]['ab_power']:.1%}",
            f"{both[name]['interleaved_users']:,}",
            f"{both[name]['interleaved_power']:.1%}",
            f"{both[name]['ratio']:.1f} ×",
            f"{both[name]['interleaved_with_a_fifth']:.1%}",
        ]
        for name in ("once", "sequential")
    ]
    splits = figures["splits"]
    wrong, right = splits["wrong"], splits["right"]
    alarm_heads = ["metric, users", "always valid, effect 5 %", "effect 30 %", "ordinary, daily", "ordinary, last day"]
    need_heads = ["looks", "A/B users", "power", "interleaved users", "power", "fewer", "power with a fifth"]
    return "\n\n".join(
        [
            f"False alarms of {figures['runs']:,} A/A experiments for each row, {figures['users']:,} users, "
            f"{figures['days']} days with a look each day, α = 5 %:",
            table(alarm_heads, alarms),
            "Power at the users that `plan` asks for 80 %:",
            table(["rate", "looks", "users", "power", "planned mean users", "mean users"], powers),
            f"A/B test and interleaving of two fusions over real lists of {both['k']}, users with known likes; the "
            f"arms have hit rates of {both['baseline']:.4f} and {both['baseline'] + both['effect']:.4f}, the mean "
            f"preference is {both['preference']:.3f}, and {both['credited']:.0%} of the users give credit:",
            table(need_heads, needs),
            "A sequential test says nothing before 100 users have given credit, so the users that its formula asks for "
            "are too few here. `multirecall experiment plan` asks for as many as that takes.",
            f"A split of 50.5 to 49.5 alarms in {wrong['at_end']:.1%} of the experiments at {splits['users']:,} users "
            f"(planned {splits['planned']:.0%}); a right one in {right['at_end']:.2%} on the last day, and in "
            f"{right['any_day']:.2%} on any of 28 days.",
        ]
    )
