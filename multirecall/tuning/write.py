"""Writing the tuned config as TOML, with a comment on the gain and the slice it was measured on."""

from __future__ import annotations

import os
from pathlib import Path

import tomli_w

from multirecall.errors import RequestError
from multirecall.evaluation import Interval
from multirecall.tuning.tuner import Tuned

VERDICTS = {
    "tuned": "Kept: the tuned fusion; its gain holds up on the second slice.",
    "plain": "Kept: equal weights over the paths that passed the gate; no gain over them held up on the second slice.",
    "single": "Kept: the best path alone; fusing it with others did worse on the second slice.",
}


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
    return f"{comment}\n\n{tomli_w.dumps(tuned.config.model_dump(exclude_unset=True, exclude_none=True))}"


def statement(tuned: Tuned) -> list[str]:
    """The lines that say what was gained and on which users it was measured."""
    on, settings = tuned.confirmed, tuned.settings
    lines = [
        f"Fusion tuned towards {settings.metric}@{settings.k}; {tuned.n_scored:,} fusions were scored "
        f"on {tuned.searched.n_users:,} users",
        f"({tuned.searched.slice}).",
        f"Measured on {on.n_users:,} users that were not searched on, or later in time",
        f"({on.slice}), with {settings.level:.0%} bootstrap intervals:",
        f"  best path alone ({tuned.names[tuned.single.chosen[0]]}): {on.single}",
        f"  equal weights over the paths that passed the gate: {on.plain}",
        f"  tuned: {on.tuned}",
        f"  gain of the tuned fusion: {_gain(on.over_plain, on.plain)} over equal weights, "
        f"{_gain(on.over_single, on.single)} over the best path",
        VERDICTS[tuned.verdict],
    ]
    lines += [
        f"Weights of {trial.name} users (up to {trial.max_history} events): gain {trial.confirmed} on the second "
        f"slice, {'kept' if trial.kept else 'not kept'}."
        for trial in tuned.segments
    ]
    return lines + _gate_lines(tuned)


def _gate_lines(tuned: Tuned) -> list[str]:
    """The lines on paths that the gate dropped, that came back, or that the config disables."""
    kept = {tuned.names[path]: tuned.kept.weights[path] for path in tuned.kept.chosen}
    gone = {step.path: step for step in tuned.gating.steps if not step.kept}
    lines = [
        f"Gated: {name}, {step.reason} (loss without it {step.loss})."
        for name, step in gone.items()
        if name not in kept
    ]
    lines += [
        f"Back after the gate: {name} with weight {kept[name]:g}; without weights, {step.reason} (loss without it "
        f"{step.loss})."
        for name, step in gone.items()
        if name in kept
    ]
    others = [name for name in tuned.names if name not in kept and name not in gone]
    return lines + ([f"Switched off by the fusion that is kept: {', '.join(others)}."] if others else [])


def _gain(gain: Interval, base: Interval) -> str:
    share = f"{gain.mean / base.mean:+.1%}" if base.mean else "from 0"
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] ({share})"
