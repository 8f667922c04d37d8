"""Tuning the fusion of an engine's paths on data that no path was fitted on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.errors import RequestError
from multirecall.evaluation import Split
from multirecall.progress import SILENT, Progress
from multirecall.tuning.ascent import climb, search_strategies
from multirecall.tuning.candidate import Candidate
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.gate import Gating, best_single, gate_paths
from multirecall.tuning.guard import Comparison, SegmentTrial, Verdict, choose, compare, tune_segments
from multirecall.tuning.journal import Journal
from multirecall.tuning.memory import Memory, open_engine
from multirecall.tuning.quotas import greedy_quotas
from multirecall.tuning.scorer import Scorer
from multirecall.tuning.slices import slices
from multirecall.tuning.space import strategies


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found, what held up, and the config that follows.

    Attributes:
        config: the starting config with the fusion that is kept.
        kept: that fusion.
        verdict: which of the three it is.
        single, plain, found: the best path alone, equal weights over the paths that passed the gate, what the search
            found.
        names: the paths; weights and quotas of the fusions are in this order.
        ms: median milliseconds of each path in single requests.
        gating: why paths stay or go.
        searched: the three fusions on the slice that was searched on.
        confirmed: the three on the second slice, without weights by segment.
        segments: weights by length of history that were tried on the fusion that is kept.
        n_scored: fusions that were scored.
        quotas_by_blocks: whether the quotas given out greedily did as well as those of the search.
        settings: how it was tuned.
    """

    config: EngineConfig
    kept: Candidate
    verdict: Verdict
    single: Candidate
    plain: Candidate
    found: Candidate
    names: tuple[str, ...]
    ms: tuple[float, ...]
    gating: Gating
    searched: Comparison
    confirmed: Comparison
    segments: tuple[SegmentTrial, ...]
    n_scored: int
    quotas_by_blocks: bool
    settings: TuningConfig

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        values = asdict(self)
        return values | {
            "config": self.config.model_dump(exclude_unset=True),
            "settings": self.settings.model_dump(),
        }


def tune(
    data: Dataset,
    config: EngineConfig | None = None,
    settings: TuningConfig | None = None,
    *,
    journal: Path | None = None,
    progress: Progress = SILENT,
) -> Tuned:
    """Find the fusion of the paths of `config` that does best on users or times that no path was fitted on.

    Each path is fitted, and asked once for each user of two slices (see `slices`). From memory, paths are gated,
    then strategy, settings, weights and quotas searched together on the first slice; the second says whether the
    gain holds up, and if it does not, the simple fusion is kept.

    Args:
        data: all that may be learned from.
        config: the paths, their quotas (the widest that are tried), and the fusion's default otherwise.
        settings: how to tune.
        journal: a file of scores, from which a search that was stopped goes on.
        progress: what long work reports to.

    Raises:
        DataError: the log cannot be split, or a slice has too few users.
        RequestError: no path keeps to the budget, a strategy is unknown, or the journal is of another search.
        PathError: a path fails.
    """
    config, settings = config or EngineConfig(), settings or TuningConfig()
    names = strategies(settings.strategies)
    held_out = slices(data, settings)
    search, confirm = _ask_paths(config, (held_out.search, held_out.confirm), settings, progress)
    gating = gate_paths(search, settings)
    single = best_single(search, settings)
    with progress.task("tune: trying fusions", settings.trials, steady=False) as advance:
        scorer = Scorer(search, settings, Journal(journal, search.fingerprint()), advance)
        scorer.score(single)
        search_strategies(gating.plain, names, scorer)
        found, by_blocks = _with_quotas(scorer, gating.plain)
    on_second = compare(confirm, single, gating.plain, found, settings)
    verdict = choose(on_second)
    kept = {"tuned": found, "plain": gating.plain, "single": single}[verdict]
    trials: tuple[SegmentTrial, ...] = ()
    if settings.segments:
        kept, trials = tune_segments(kept, search, confirm, settings)
    return Tuned(
        config=kept.apply_to(config, search.names),
        kept=kept,
        verdict=verdict,
        single=single,
        plain=gating.plain,
        found=found,
        names=search.names,
        ms=search.ms,
        gating=gating,
        searched=compare(search, single, gating.plain, found, settings),
        confirmed=on_second,
        segments=trials,
        n_scored=scorer.n_scored,
        quotas_by_blocks=by_blocks,
        settings=settings,
    )


def compare_on(tuned: Tuned, start: EngineConfig, split: Split, *, progress: Progress = SILENT) -> Comparison:
    """The best path, the plain fusion and the one that is kept, on a split whose training part alone was tuned on.

    All paths of `start` are fitted on `split.train`.
    """
    engine = open_engine(start).fit(split.train, progress=progress)
    memory = Memory.of(engine, split, tuned.settings.metric, tuned.settings.k, progress)
    if memory.names != tuned.names:
        raise RequestError(f"measured: the paths {tuned.names} were tuned, but {memory.names} could be fitted here")
    return compare(memory, tuned.single, tuned.plain, tuned.kept, tuned.settings)


def _ask_paths(
    config: EngineConfig, parts: tuple[Split, Split], settings: TuningConfig, progress: Progress
) -> tuple[Memory, Memory]:
    """The lists for both slices; the paths are fitted once where these share their training part."""
    first, second = parts
    engine = open_engine(config).fit(first.train, progress=progress)
    search = Memory.of(engine, first, settings.metric, settings.k, progress)
    if second.train is not first.train:
        engine = open_engine(config).fit(second.train, progress=progress)
    confirm = Memory.of(engine, second, settings.metric, settings.k, progress)
    _check_paths(search, confirm.names)
    return search, confirm


def _check_paths(search: Memory, names: tuple[str, ...]) -> None:
    """Refuse parts of which a path could be fitted on one only, as one that a larger catalogue rules out.

    Raises:
        RequestError: there is one.
    """
    odd = sorted({*search.names} ^ {*names})
    if odd:
        raise RequestError(
            f"tune: path {odd[0]!r} can be fitted on one part of the log, but not on another; name the paths in a "
            "config, without it"
        )


def _with_quotas(scorer: Scorer, plain: Candidate) -> tuple[Candidate, bool]:
    """What the search found, with quotas given out greedily where these do as well, since they are the narrower.

    Where they do better, the search goes on from there.
    """
    found = scorer.best or plain
    greedy = greedy_quotas(found, scorer)
    gain = scorer.score(greedy) - scorer.score(found)
    if gain < 0:
        return found, False
    if gain > 0:
        climb(greedy, scorer)
    return max(greedy, scorer.best or greedy, key=scorer.score), True
