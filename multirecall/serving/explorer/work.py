"""The work of the explorer's routes, from the bytes of a body to the bytes of an answer; it runs in a thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from time import perf_counter, time
from typing import Any

from multirecall.data import Categorical, Dataset, Tags
from multirecall.engine.what_if import moves
from multirecall.errors import MultirecallError, RequestError
from multirecall.result import Candidates
from multirecall.serving.columns import to_json
from multirecall.serving.exchange import Exchange
from multirecall.serving.explorer.answers import as_text, columns, path_values, plain, segment
from multirecall.serving.explorer.catalogue import Catalogue, fusions
from multirecall.serving.explorer.labels import Labels
from multirecall.serving.explorer.recent import Recent
from multirecall.serving.explorer.schemas import AskBody, SearchBody, SimilarBody, WhyBody
from multirecall.serving.explorer.traces import Kept, Traces
from multirecall.serving.ids import read_id
from multirecall.serving.schemas import read_body
from multirecall.serving.service import Service
from multirecall.user import User
from multirecall.vocabulary import Id

EVENTS = 500
"""The most events of a history that are shown, the newest ones."""


class Work:
    """Answers what the page asks."""

    def __init__(self, service: Service, recent: Recent) -> None:
        self._service, self._recent = service, recent
        self._labels = Labels(service.settings.explorer)
        self._catalogue = Catalogue(self._labels)
        self.traces = Traces()

    def setup(self) -> dict[str, Any]:
        """What the page needs once: paths, fusions, features and a few users."""
        engine, data = self._service.engine, self._service.engine.data
        self._labels.check(data)
        retrievers = {path.name: path.retriever for path in engine.config.paths}
        return {
            "paths": [{"name": name, "retriever": retrievers[name]} for name in engine.paths],
            "fusions": list(fusions(engine)),
            "fields": self._catalogue.fields(data),
            "users": self._catalogue.users(data),
            "text_ids": data.users.ids.holds_text,
            "k": min(engine.config.k, 100),
            "most_k": self._service.settings.limits.k,
        }

    def ask(self, exchange: Exchange) -> bytes:
        """Ask every path: their lists, what filters took out, the history, and the fused list."""
        asked = self._read(exchange, AskBody)
        start = perf_counter()
        kept = self._trace(asked)
        data, trace = self._service.engine.data, kept.trace
        barred = trace.barred()
        ms = (perf_counter() - start) * 1e3
        history, times = trace.history
        lists = {name: data.items.ids.ids(ranked.items) for name, ranked in trace.lists.items()}
        fused = self._fused(kept, asked)
        shown = [
            *(id_ for ids in lists.values() for id_ in ids.tolist()),
            *(id_ for one in barred.values() for id_ in one.ids.tolist()),
            *history[-EVENTS:].tolist(),
        ]
        fused["items"] = {**self._labels.table(data, shown), **fused["items"]}
        return to_json(
            {
                "data_version": trace.data_version,
                "known": trace.known,
                "store": trace.store,
                "unknown_items": [str(one) for one in trace.unknown_items],
                "segment": segment(trace),
                "n_events": history.size,
                "history": as_text(history[-EVENTS:]),
                "times": None if times is None else times[-EVENTS:],
                "paths": [path_values(trace, name, lists[name], barred.get(name)) for name in trace.paths],
                "ms": ms,
                "fused": fused,
            }
        )

    def fuse(self, exchange: Exchange) -> bytes:
        """Fuse the lists of a request again; the paths are asked only if this worker does not have them any more."""
        asked = self._read(exchange, AskBody)
        kept = self.traces.get(asked.request, self._service.engine.data_version) or self._trace(asked)
        return to_json(self._fused(kept, asked))

    def why(self, exchange: Exchange) -> bytes:
        """Why an item is where it is in the list that the engine serves, or why it is missing."""
        asked = self._read(exchange, WhyBody)
        engine, data = self._service.engine, self._service.engine.data
        item = read_id(data.items.ids, asked.item)
        told = asdict(engine.explain(self._user(asked), item, **self._filters(asked)))
        mentioned = [one for path in told["paths"].values() for one in path["items"]]
        for path in told["paths"].values():
            path["items"] = [str(one) for one in path["items"]]
        row = data.items.ids.row(item)
        return to_json(
            {
                **told,
                "item_id": str(item),
                "features": {name: plain(value) for name, value in data.items.values(row).items()},
                "items": self._labels.table(data, [item, *mentioned]),
            }
        )

    def similar(self, exchange: Exchange) -> bytes:
        """Items like an item."""
        asked = read_body(exchange.body, SimilarBody)
        engine, data = self._service.engine, self._service.engine.data
        where = _where(data, asked.where)
        found = engine.similar(read_id(data.items.ids, asked.item), asked.k, where=where, deadline_ms=self._deadline_ms)
        return to_json({**columns(found), "items": self._labels.table(data, found.ids.tolist())})

    def search(self, exchange: Exchange) -> bytes:
        """Items by id or title."""
        data = self._service.engine.data
        found = self._catalogue.search(data, read_body(exchange.body, SearchBody).text)
        ids = [data.items.ids.parse(one) for one in found]
        return to_json({"found": found, "items": self._labels.table(data, ids)})

    def pulse(self, _: Exchange) -> bytes:
        """Health and metrics at a glance, of this worker."""
        engine = self._service.engine
        health, now = engine.health(), engine.data.now
        return to_json(
            {
                "n_items": health.n_items,
                "n_users": health.n_users,
                "n_events": health.n_events,
                "data_version": health.data_version,
                "newest": now,
                "age_s": None if now is None else max(0.0, time() - now),
                "cache": asdict(health.cache),
                "refit": asdict(health.refit),
                "source": None if health.source is None else asdict(health.source),
                "unsaved": None if health.store is None else health.store.unsaved,
                "breakers": {
                    name: {"breaker": one.breaker, "trouble": one.trouble or one.stale, "last_fault": one.last_fault}
                    for name, one in health.paths.items()
                },
                "recent": self._recent.shown(),
            }
        )

    def _read(self, exchange: Exchange, model: type[AskBody]) -> Any:
        asked = read_body(exchange.body, model)
        exchange.k = asked.k or self._service.engine.config.k
        most = self._service.settings.limits.k
        if exchange.k > most:
            raise RequestError(f"k must be at most {most:,} here, got {exchange.k:,}")
        own = {path.name: path.quota for path in self._service.engine.config.paths}
        for name, quota in asked.choices.quotas.items():
            if quota > max(most, own.get(name, 0)):
                raise RequestError(
                    f"quotas: {name!r} must be at most {max(most, own.get(name, 0)):,} here, got {quota:,}"
                )
        return asked

    def _trace(self, asked: AskBody) -> Kept:
        trace = self._service.engine.trace(self._user(asked), **self._filters(asked), deadline_ms=self._deadline_ms)
        served: Candidates | MultirecallError
        try:
            served = trace.fuse()
        except MultirecallError as fault:
            served = fault
        kept = Kept(trace, served)
        self.traces.put(asked.request, kept)
        return kept

    def _user(self, asked: AskBody) -> User:
        data = self._service.engine.data
        user = None if asked.user is None else read_id(data.users.ids, asked.user)
        return User(user, None if asked.history is None else self._items(asked.history))

    def _filters(self, asked: AskBody) -> dict[str, Any]:
        return {
            "k": asked.k,
            "exclude": self._items(asked.exclude) or None,
            "where": _where(self._service.engine.data, asked.where),
            "seen": asked.seen,
        }

    @property
    def _deadline_ms(self) -> float | None:
        """That of the deployment; None: that of the engine's config."""
        return self._service.settings.limits.deadline_ms

    def _items(self, ids: Iterable[str]) -> list[Id]:
        catalogue = self._service.engine.data.items.ids
        return [read_id(catalogue, one) for one in ids]

    def _fused(self, kept: Kept, asked: AskBody) -> dict[str, Any]:
        """The fused list under the choices of a request, beside the one that the engine serves."""
        start = perf_counter()
        trace, config = kept.trace, kept.trace.config
        answer: Candidates | MultirecallError = kept.served
        if asked.choices.changed:
            try:
                config = trace.vary(**asked.choices.to_dict())
                wide = trace.widen(config)
                if wide is not trace:
                    kept = Kept(wide, kept.served)
                    self.traces.put(asked.request, kept)
                answer = wide.fuse(config)
            except MultirecallError as fault:
                answer = fault
        fusion = trace.fusion_of(config)
        said = {
            "changed": asked.choices.changed,
            "strategy": fusion.strategy,
            "params": fusion.params,
            "toml": trace.to_toml(config),
            "fault": str(answer) if isinstance(answer, MultirecallError) else None,
            "items": {},
        }
        if isinstance(answer, Candidates):
            said |= columns(answer)
            said["items"] = self._labels.table(self._service.engine.data, answer.ids.tolist())
            if isinstance(kept.served, Candidates):
                changed = moves(kept.served, answer)
                said["before"], said["left"] = changed.before, as_text(changed.left)
                said["left_ranks"] = changed.left_ranks
        said["ms"] = (perf_counter() - start) * 1e3
        return said


def _where(data: Dataset, where: dict[str, Any]) -> dict[str, Any] | None:
    """The predicates with categories in their kind: a page has text only."""
    read: dict[str, Any] = {}
    for field, predicate in where.items():
        feature = data.items.stored.get(field)
        values = isinstance(feature, Categorical | Tags) and isinstance(predicate, list)
        read[field] = [_category(feature, one) for one in predicate] if values else predicate
    return read or None


def _category(feature: Any, value: Any) -> Any:
    return feature.categories.parse(value) if isinstance(value, str) else value
