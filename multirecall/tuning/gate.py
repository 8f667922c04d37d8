"""The gate: select the paths by leave-one-path-out on the plain fusion, before any weight is searched."""

from __future__ import annotations

from dataclasses import dataclass

from multirecall.config import FusionConfig
from multirecall.errors import RequestError
from multirecall.evaluation import Interval, interval
from multirecall.tuning.candidate import Candidate
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.memory import Memory


@dataclass(frozen=True, slots=True)
class GateStep:
    """The loss of the plain fusion without one path, whether the path is kept, and why."""

    path: str
    loss: Interval
    kept: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Gating:
    """The result of the gate: the plain fusion of the paths that are kept, and a step for every path."""

    plain: Candidate
    steps: tuple[GateStep, ...]


def plain_fusion(memory: Memory, paths: list[int]) -> Candidate:
    """The plain fusion of some paths: the default strategy with equal weights and full quotas."""
    weights = tuple(1.0 if path in paths else 0.0 for path in range(len(memory.names)))
    default = FusionConfig(strategy="rrf")
    return memory.limit_quotas(Candidate(default.strategy, default.params, weights, memory.widths))


def best_single(memory: Memory, config: TuningConfig) -> Candidate:
    """The best path alone, among the paths within the budget.

    Raises:
        RequestError: no path is within the budget.
    """
    alone = [plain_fusion(memory, [path]) for path in _affordable(memory, config)]
    return max(alone, key=lambda candidate: float(memory.values(candidate).mean()))


def gate_paths(memory: Memory, config: TuningConfig) -> Gating:
    """Drop paths one by one, each time the path whose absence helps the plain fusion most, until every drop is a loss.

    While the paths exceed the budget, the path with the least loss per millisecond saved is dropped as well.

    Raises:
        RequestError: no path is within the budget.
    """
    kept = _affordable(memory, config)
    gone: list[GateStep] = []
    while True:
        whole = memory.values(plain_fusion(memory, kept))
        losses = {}
        for path in kept if len(kept) > 1 else []:
            without = memory.values(plain_fusion(memory, [other for other in kept if other != path]))
            losses[path] = interval(whole - without, config.resamples, config.level, config.seed)
        over = config.budget_ms is not None and memory.cost(plain_fusion(memory, kept)) > config.budget_ms
        worst = min(losses, key=lambda path: losses[path].mean, default=None)
        if worst is None or (losses[worst].mean > 0 and not over):
            break
        reason = "the others do as well without it"
        if losses[worst].mean > 0:
            worst = min(losses, key=lambda path: losses[path].mean / max(memory.ms[path], 1e-9))
            reason = "the budget"
        gone.append(GateStep(memory.names[worst], losses[worst], False, reason))
        kept.remove(worst)
    stays = [
        GateStep(memory.names[path], loss, True, "the others do worse without it") for path, loss in losses.items()
    ] or [GateStep(memory.names[kept[0]], interval(whole, config.resamples, config.level, config.seed), True, "alone")]
    return Gating(plain_fusion(memory, kept), (*stays, *gone))


def _affordable(memory: Memory, config: TuningConfig) -> list[int]:
    budget = config.budget_ms
    affordable = [path for path in range(len(memory.names)) if budget is None or memory.ms[path] <= budget]
    if not affordable:
        least = min(range(len(memory.names)), key=lambda path: memory.ms[path])
        raise RequestError(
            f"tune: no path is within the budget of {budget:g} ms; the fastest, {memory.names[least]!r}, takes "
            f"{memory.ms[least]:.3f} ms; raise budget_ms"
        )
    return affordable
