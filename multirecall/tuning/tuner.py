"""The tuner: searches the fusion of an engine's paths on events that no path was fitted on."""

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
    """The result of a tuning: the config to use, and the figures behind it.

    Attributes:
        config: the starting config with the fusion that is kept.
        kept: the fusion that is kept.
        verdict: which of the three fusions is kept.
        single: the first of the three fusions, the best path alone.
        plain: the second, equal weights over the paths that passed the gate.
        found: the third, the result of the search.
        names: the names of the paths; weights and quotas of the fusions are in this order.
        ms: the median latency of each path in single requests, in milliseconds.
        gating: the decision of the gate on each path.
        searched: the comparison of the three fusions on the search slice.
        confirmed: the comparison on the second slice, without weights by segment.
        segments: the weights by history length that were tried with the fusion that is kept.
        n_scored: the number of fusions scored.
        quotas_by_blocks: whether greedy quotas did at least as well as the quotas of the search.
        settings: the settings of the tuning.
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
    """Find the best fusion of the paths of `config` on users or times that no path was fitted on.

    Each path is fitted, and its lists are retrieved once for each user of two slices (see `slices`). On the first
    slice, the gate selects paths, and a search finds strategy, settings, weights and quotas together. The second slice
    confirms the gain; without confirmation, a simple fusion is kept.

    Args:
        data: the log and tables; both slices are taken from it.
        config: the paths and their quotas, which are the widest that are tried; None: the default paths.
        settings: the settings of the tuner; None: the defaults.
        journal: a file for the scores, from which an interrupted search is resumed.
        progress: receives the progress of fits and search.

    Raises:
        DataError: the log cannot be split, or a slice has too few users.
        RequestError: no path is within the budget, a strategy is unknown, or the journal belongs to another search.
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
    """Compare the best path, the plain fusion and the kept fusion on a test split.

    `tuned` must come from the training part of `split` alone. All paths of `start` are fitted on `split.train`.

    Raises:
        RequestError: other paths can be fitted on the training part than were tuned.
    """
    engine = open_engine(start).fit(split.train, progress=progress)
    memory = Memory.of(engine, split, tuned.settings.metric, tuned.settings.k, progress)
    if memory.names != tuned.names:
        raise RequestError(
            f"tune: the paths {tuned.names} were tuned, but {memory.names} could be fitted on the training part of the "
            "test split; name the paths in a config"
        )
    return compare(memory, tuned.single, tuned.plain, tuned.kept, tuned.settings)


def _ask_paths(
    config: EngineConfig, parts: tuple[Split, Split], settings: TuningConfig, progress: Progress
) -> tuple[Memory, Memory]:
    """Retrieve the lists for both slices; the paths are fitted once if the slices share their training part."""
    first, second = parts
    engine = open_engine(config).fit(first.train, progress=progress)
    search = Memory.of(engine, first, settings.metric, settings.k, progress)
    if second.train is not first.train:
        engine = open_engine(config).fit(second.train, progress=progress)
    confirm = Memory.of(engine, second, settings.metric, settings.k, progress)
    _check_paths(search, confirm.names)
    return search, confirm


def _check_paths(search: Memory, names: tuple[str, ...]) -> None:
    """Refuse slices with different paths, as where a path cannot be fitted on the larger catalogue of one slice.

    Raises:
        RequestError: the paths differ.
    """
    odd = sorted({*search.names} ^ {*names})
    if odd:
        raise RequestError(
            f"tune: path {odd[0]!r} can be fitted on one part of the log, but not on another; name the paths in a "
            "config, without it"
        )


def _with_quotas(scorer: Scorer, plain: Candidate) -> tuple[Candidate, bool]:
    """The result of the search, with greedy quotas if they do at least as well, because they are smaller.

    If they do better, the search climbs on from them. The flag says whether greedy quotas are used.
    """
    found = scorer.best or plain
    greedy = greedy_quotas(found, scorer)
    gain = scorer.score(greedy) - scorer.score(found)
    if gain < 0:
        return found, False
    if gain > 0:
        climb(greedy, scorer)
    return max(greedy, scorer.best or greedy, key=scorer.score), True
