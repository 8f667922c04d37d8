"""What observers are told about a call: what it was answered with, and what the paths proposed."""

from __future__ import annotations

from collections.abc import Sequence

from multirecall.candidate_features import MixedProposals, Proposals
from multirecall.config import EngineConfig, stored_values
from multirecall.engine.state import EngineState
from multirecall.engine.variants import NoVariants, Part
from multirecall.online import Proposed, Served
from multirecall.result import CandidateBatch, Candidates
from multirecall.storage import json_digest


def tell_served(state: EngineState, own: EngineConfig, variants: NoVariants, version: str | None) -> Served:
    """What a state answers with.

    Args:
        state: the state.
        own: the engine's config.
        variants: what the state was made by, if it is of a variant.
        version: the name of the bundle's version, or None without a bundle.
    """
    told = state.told.get(version)
    if told is None:
        config, teams = variants.config_of(state, own), variants.teams_of(state)
        values = stored_values(config if state.learned is None else state.learned.report.settle(config))
        rivals = None if teams is None else (stored_values(teams[0]), stored_values(teams[1]))
        told = state.told[version] = Served(
            version,
            state.data_version,
            state.data_version if version is None else state.journal_seq,
            values,
            json_digest([values, rivals]),
            rivals,
            state.exploration,
            state.names,
            state.windows,
            tuple(state.quotas),
            state.level,
            state.data.items.ids,
        )
    return told


def tell_proposed(
    answer: Candidates | CandidateBatch, parts: Sequence[Part], served: Sequence[Served]
) -> tuple[Proposed, ...]:
    """What the paths proposed to the users of a call.

    Args:
        answer: of the call.
        parts: the states that answered, with the positions of their users.
        served: what each of them answers with.
    """
    kept = answer._proposals
    proposals: Sequence[Proposals] = () if kept is None else kept.parts if isinstance(kept, MixedProposals) else (kept,)
    return tuple(
        Proposed(one, users, tuple(own.batches), own.all_lengths, tuple(own.excluded), own.where)
        for one, (_, users), own in zip(served, parts, proposals, strict=True)
    )
