"""The table of batches of candidates."""

from __future__ import annotations

from _tables import machine_of, result, table


def batch() -> str:
    """How fast a batch is by the number of workers, and what it has survived."""
    figures, kills = result("candidates"), result("candidates-kills")
    rows = [[name, f"{one['users_per_s']:,.0f}", f"{one['start_s']:.1f} s"] for name, one in figures["runs"].items()]
    killed = ", ".join(f"{number} {what}" for what, number in kills["kills"].items())
    return (
        f"{table(['written by', 'users/s', 'first part after'], rows)}\n\n"
        f"{figures['users']:,} users, {figures['items']:,} items, k = {figures['k']}, {figures['chunk']} users a part; "
        f"medians of {figures['rounds']} rounds in turn, rates from the first part on. Ray ran on the same machine, "
        f"which has all of its processes to bear. {machine_of(figures)}.\n\n"
        f"Killed at random moments, {kills['all_kills']} in all: {killed}. Every time the folder was, byte for byte, "
        f"what one process writes; no part was lost, none written twice."
    )
