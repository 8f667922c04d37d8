"""Content: an inverted index over item features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Dataset, Feature, Tags
from multirecall.errors import CannotFit
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.query import Query
from multirecall.query_batch import has_terms
from multirecall.storage import META, read_component, read_json, write_component, write_json
from multirecall.sums import Sums
from multirecall.validation import Count, NonNegative, Positive, nearest
from multirecall.vocabulary import Vocabulary

from ._recency import recent_items
from ._shard import FOLDER, Shard
from ._similar import SimilarByHistory
from ._text.jaccard import SetIndex
from ._text.live_postings import LivePostings
from ._text.postings import FieldTerms, Postings
from ._text.search_batch import search_profile, search_profiles
from ._text.shard_postings import ShardPostings, ShardSets
from ._text.terms import Lexicon, TermCounts


class ContentConfig(PluginConfig):
    """Settings of `content`."""

    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Item features to index; None: all. Changes results."""

    field_weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Factor ≥ 0 on the scores of a field, by name; 1 for a field that is not named. Changes results."""

    jaccard: tuple[str, ...] = ()
    """List-valued fields that are scored by Jaccard overlap instead of BM25. Changes results."""

    k1: NonNegative = 1.2
    """k1 of BM25: with a larger value, repetitions of a term saturate more slowly. Changes results."""

    b: Annotated[NonNegative, Field(le=1)] = 0.75
    """b of BM25: the discount of long texts and lists, 0 (none) … 1. Changes results."""

    buckets: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 10
    """Buckets (quantiles) of a number or datetime, about equally full. Changes results."""

    history: Count = 100
    """Newest items of the history that form the profile. Changes results and speed."""

    half_life: Positive | None = 20.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    profile_terms: Count = 128
    """Most terms of a profile; the terms of largest weight are kept. Changes results and speed."""

    profile_postings: Count = 200_000
    """Most postings that a profile reads; the terms of largest weight come first. Bounds the latency on large
    catalogues, where terms of small weight have long postings. Changes results and speed."""


class Content(SimilarByHistory):
    """Scores items by the terms that they share with the user's profile, or with the search terms of the request.

    The terms of a field are its categories, the elements of its lists, the words of its texts, or the buckets of its
    numbers. With `q_t` the weight of a term in the query, the score of an item is

        Σ_t q_t · BM25(t, item) + Σ_jaccard-fields Σ_h w_h · |T_h ∩ T_item| / |T_h ∪ T_item|,

    where `BM25` is that of Robertson & Zaragoza (2009), equation 3.15, with the non-negative
    `idf = ln(1 + (N - n_t + .5) / (n_t + .5))`. In a profile, `q_t = Σ_h w_h · count(t, h) · idf_t` over the
    newest history, with recency weights `w_h`; for search terms, `q_t` is their count.

    A part has the postings of its own items, the terms of all items and the statistics of the whole.
    """

    Config: ClassVar[type[PluginConfig]] = ContentConfig
    inline = True
    filters = True
    live = frozenset({"items"})
    config: ContentConfig
    _lexicons: dict[str, Lexicon]
    _sets: dict[str, SetIndex | ShardSets]
    _index: LivePostings | ShardPostings

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Index the item features."""
        features = self._fields_to_index(data)
        self._lexicons, self._sets = {}, {}
        counts = {}
        with progress.task("content: indexing fields", len(features), steady=False) as advance:
            for field, feature in features.items():
                self._lexicons[field], counts[field] = Lexicon.of(field, feature, self.config.buckets)
                advance(1)
        self._index_sets(counts, data.n_items)
        self._index = LivePostings.of(Postings.of(self._fields(counts), data.n_items, self.config.k1))

    def with_changes(self, changes: Any) -> Self:
        """See `Retriever.with_changes`: the items in `changes.touched` get the features that `changes.data` has.

        Statistics, buckets and known terms stay those of the fit. The cost grows with the number of items that have
        changed since the last compaction or, with `jaccard` fields, with the catalogue.
        """
        if not changes.touched.size:
            return self
        table = changes.data.items
        changed = np.union1d(self._index.changed, changes.touched).astype(np.int32)
        path = type(self)(self.config)
        path._lexicons, path._sets = self._lexicons, {}
        if self._sets:
            counts = {field: self._lexicons[field].counts(table.features[field]) for field in self._sets}
            path._index_sets(counts, len(table))
            if isinstance(self._index, ShardPostings):
                path._cut_sets(self._index.shard)
        own = {
            field: lexicon.counts(table.column(field, changed))
            for field, lexicon in self._lexicons.items()
            if field not in self._sets
        }
        live = self._index.with_changes(changed, self._fields(own), len(table), self.config.k1, merge=bool(self._sets))
        path._index = live
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        if query.terms:
            return self._search_terms(query, quota)
        config = self.config
        limits = config.profile_terms, config.profile_postings
        if self._is_compact:
            return search_profile(self._index.base, query, config.history, config.half_life, *limits, quota)
        items, weights = recent_items(query, config.history, config.half_life)
        terms, term_weights = self._index.profile(items, weights, *limits)
        if not self._sets:
            return RankedList(*self._index.search(terms, term_weights, quota, *query.filter))
        sums = self._score(terms, term_weights)
        for field, index in self._sets.items():
            index.add_similar(items, weights * np.float32(self._weight(field)), sums)
        return self._index.top(sums, quota, query.filter)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: one call for all users, unless terms, `jaccard` or new items are among it."""
        config = self.config
        if not self._is_compact or not queries or has_terms(queries):
            return super().retrieve_batch(queries, quota)
        limits = config.profile_terms, config.profile_postings
        return search_profiles(self._index.base, queries, config.history, config.half_life, *limits, quota)

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`."""
        assert isinstance(self._index, LivePostings), "a part is not split any further"
        path, shard = copy(self), Shard(rows, self._index.n_items)
        path._index = ShardPostings.of(self._index, shard)
        path._cut_sets(shard)
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        for number, (field, lexicon) in enumerate(self._lexicons.items()):
            arrays = {"words": lexicon.words.ids(), "edges": lexicon.edges}
            write_component(folder / f"field{number}", arrays, {"field": field, "kind": lexicon.kind})
            if field in self._sets:
                self._sets[field].save(folder / f"field{number}-set")
        write_json(folder / META, {"n_fields": len(self._lexicons)})
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: ContentConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._lexicons, path._sets = {}, {}
        is_part = (folder / "index" / FOLDER).exists()
        postings = ShardPostings if is_part else LivePostings
        sets = ShardSets if is_part else SetIndex
        for number in range(read_json(folder / META)["n_fields"]):
            arrays, own = read_component(folder / f"field{number}")
            field = own["field"]
            path._lexicons[field] = Lexicon(own["kind"], Vocabulary(arrays["words"], field), arrays["edges"])
            if field in config.jaccard:
                path._sets[field] = sets.load(folder / f"field{number}-set")
        path._index = postings.load(folder / "index")
        return path

    @property
    def _is_compact(self) -> bool:
        """Whether `base` alone has the terms of all items of the catalogue."""
        return isinstance(self._index, LivePostings) and not self._index.changed.size and not self._sets

    def _search_terms(self, query: Query, quota: int) -> RankedList:
        """The items that match the search terms; terms of a field without an index are ignored."""
        terms, weights, sets = [np.empty(0, np.int32)], [np.empty(0, np.float32)], {}
        first_terms = self._first_terms()
        for field, value in query.terms.items():
            if field not in self._lexicons:
                continue
            found, counts, n_unknown = self._lexicons[field].lookup(value)
            if field in self._sets:
                sets[field] = found, found.size + n_unknown
            else:
                terms.append(found + first_terms[field])
                weights.append(counts)
        all_terms, all_weights = np.concatenate(terms), np.concatenate(weights)
        if not sets:
            return RankedList(*self._index.search(all_terms, all_weights, quota, *query.filter))
        sums = self._score(all_terms, all_weights)
        for field, (found, size) in sets.items():
            self._sets[field].add_overlap(found, size, self._weight(field), sums)
        return self._index.top(sums, quota, query.filter)

    def _score(self, terms: NDArray[np.int32], weights: NDArray[np.float32]) -> Sums:
        """The BM25 scores of all items. With `jaccard` fields there is no overlay, so that `base` has all postings."""
        postings = self._index.base
        sums = Sums(postings.n_items)
        postings.impacts.add(*postings.order(terms, weights), sums)
        return sums

    def _fields(self, counts: Mapping[str, TermCounts]) -> list[FieldTerms]:
        """The fields scored by BM25, in the order of the lexicons."""
        fields = []
        for field, lexicon in self._lexicons.items():
            if field not in self.config.jaccard:
                discount = 0.0 if lexicon.single else self.config.b
                fields.append(FieldTerms(counts[field], len(lexicon), self._weight(field), discount, lexicon.single))
        return fields

    def _first_terms(self) -> dict[str, np.int32]:
        """The number of the first term of each field scored by BM25."""
        fields = [field for field in self._lexicons if field not in self._sets]
        return dict(zip(fields, self._index.base.statistics.first_terms.astype(np.int32)[:-1], strict=True))

    def _index_sets(self, counts: Mapping[str, TermCounts], n_items: int) -> None:
        for field in self.config.jaccard:
            if field in counts:
                self._sets[field] = SetIndex.of(counts[field], len(self._lexicons[field]), n_items)

    def _cut_sets(self, shard: Shard) -> None:
        whole = {field: index for field, index in self._sets.items() if isinstance(index, SetIndex)}
        self._sets = {field: ShardSets.of(index, shard) for field, index in whole.items()}

    def _weight(self, field: str) -> float:
        return self.config.field_weights.get(field, 1.0)

    def _fields_to_index(self, data: Dataset) -> dict[str, Feature]:
        """The item features to index, by field.

        Raises:
            CannotFit: there are no features, or a setting names a field that does not exist or has the wrong kind.
        """
        features = data.items.features
        if not features:
            raise CannotFit("content: the data have no item features; pass an item table, or leave the path out")
        named = {*(self.config.fields or ()), *self.config.field_weights, *self.config.jaccard}
        for field in sorted(named):
            if field not in features:
                raise CannotFit(f"content: {field!r} is no item feature; {nearest(field, features)}")
        for field in self.config.jaccard:
            if not isinstance(features[field], Tags):
                raise CannotFit(
                    f"content: jaccard needs a list-valued field, {field!r} is of kind {features[field].kind}; "
                    f"leave it out of jaccard, or load it with kinds={{{field!r}: 'list'}}"
                )
        fields = features if self.config.fields is None else self.config.fields
        return {field: features[field] for field in fields}
