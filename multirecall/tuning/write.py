"""Writing the tuned config as TOML, with a comment on the gain and the slice it was measured on."""

from __future__ import annotations

import os
from pathlib import Path

from multirecall.errors import RequestError
from multirecall.evaluation import Interval
from multirecall.tuning.confirming import Verdict
from multirecall.tuning.tuner import Tuned

VERDICTS: dict[Verdict, str] = {
    "tuned": "Kept: the learned fusion; it holds up on the second slice.",
    "single": "Kept: the best path alone, which is better than equal weights.",
    "plain": "Kept: equal weights.",
    "rrf": "Kept: reciprocal rank fusion of all paths, which is better than equal weights.",
}
"""What is kept; where it is not the learned fusion, that one does not hold up on the second slice."""


def write_config(tuned: Tuned, file: Path) -> None:
    """Write the config to `file`, which is replaced only when the new content is complete; `Engine.from_toml` loads it.

    Raises:
        RequestError: the file cannot be written.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(config_text(tuned), encoding="utf-8")
        os.replace(draft, file)
    except OSError as fault:
        raise RequestError(f"{file}: cannot be written ({fault.strerror}); check the folder") from None
    finally:
        draft.unlink(missing_ok=True)


def config_text(tuned: Tuned) -> str:
    """The config as TOML with its comment.

    Raises:
        RequestError: a setting of a path is None, which TOML cannot hold.
    """
    for path in tuned.config.paths:
        for name, value in path.params.items():
            if value is None:
                raise RequestError(
                    f"paths {path.name!r}: {name} is None, which TOML cannot hold; give a number, for a half-life a "
                    "very large one"
                )
    comment = "\n".join(f"# {line}".rstrip() for line in statement(tuned))
    return f"{comment}\n\n{tuned.report.to_toml(tuned.config)}"


def statement(tuned: Tuned) -> list[str]:
    """The lines that say what was gained and on which users it was measured."""
    on, settings, report = tuned.confirmed, tuned.settings, tuned.report
    best = tuned.names[tuned.single.asked[0]]
    lines = [
        f"Fusion learned from {tuned.searched.n_users:,} users ({tuned.searched.slice}).",
        f"{settings.metric}@{settings.k} on {on.n_users:,} users that it was not learned from, or later in time",
        f"({on.slice}), with {settings.level:.0%} bootstrap intervals:",
        f"  best path alone ({best}): {on.single}",
        f"  equal weights: {on.plain}",
        f"  learned: {on.tuned}",
        f"  gain of the learned fusion: {_gain(on.over_plain, on.plain)} over equal weights, "
        f"{_gain(on.over_single, on.single)} over the best path",
        VERDICTS[tuned.verdict],
        report.statement,
    ]
    lines += [
        f"Fusion of {one.name} users (up to {one.max_history} events): gain {one.gain}, "
        f"{'kept' if one.kept and tuned.verdict == 'tuned' else 'not kept'}."
        for one in report.segment_trials
    ]
    return lines + [f"Switched off: {path}, {reason}." for path, reason in report.dropped.items()]


def _gain(gain: Interval, base: Interval) -> str:
    share = f"{gain.mean / base.mean:+.1%}" if base.mean else "from 0"
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] ({share})"
