"""Content: an inverted index over item features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from multirecall.data import Dataset, Feature, Tags
from multirecall.errors import CannotFit
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.validation import Count, NonNegative, Positive, nearest
from multirecall.vocabulary import Vocabulary

from ._gather import SparseRows, Sums
from ._jaccard import SetIndex
from ._postings import FieldTerms, Postings
from ._recency import recent
from ._terms import Lexicon


class ContentConfig(PluginConfig):
    """Settings of `content`."""

    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Item features to index; None: all. Changes results."""

    field_weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Factor on a field's scores, ≥ 0, 1 where not named. Changes results."""

    jaccard: tuple[str, ...] = ()
    """List-valued fields that are scored by Jaccard overlap instead of BM25. Changes results."""

    k1: NonNegative = 1.2
    """BM25: how slowly repeated terms saturate. Changes results."""

    b: Annotated[NonNegative, Field(le=1)] = 0.75
    """BM25: how much long texts and lists are discounted, 0 … 1. Changes results."""

    buckets: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 10
    """Buckets of a number or datetime, about equally full. Changes results."""

    history: Count = 100
    """Newest items that make the profile. Changes results and speed."""

    half_life: Positive | None = 20.0
    """Items after which an item of the history weighs half; None: all weigh alike. Changes results."""

    profile_terms: Count = 128
    """Most terms of a profile, the heaviest ones. Changes results and speed."""

    profile_postings: Count = 200_000
    """Most postings that a profile reads, those of its heaviest terms; bounds the latency on large catalogues,
    where light terms have long postings. Changes results and speed."""


class Content(Retriever):
    """Scores items by the terms that they share with the user's profile, or with the terms asked for.

    A categorical value, each element of a list, each word of a text and the bucket of a number is a term of its
    field. With `q_t` the weight of a term in the query, an item scores

        Σ_t q_t · BM25(t, item) + Σ_jaccard-fields Σ_h w_h · |T_h ∩ T_item| / |T_h ∪ T_item|,

    where `BM25` is that of Robertson & Zaragoza (2009), equation 3.15, with the non-negative
    `idf = ln(1 + (N - n_t + .5) / (n_t + .5))`. In a profile, `q_t = Σ_h w_h · count(t, h) · idf_t` over the
    newest history, with recency weights `w_h`; for terms that are asked for, `q_t` is their count.
    """

    Config: ClassVar[type[PluginConfig]] = ContentConfig
    inline = True
    filters = True
    config: ContentConfig
    _lexicons: dict[str, Lexicon]
    _first_terms: dict[str, int]
    _postings: Postings
    _sets: dict[str, SetIndex]

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Index the item features."""
        features = self._chosen(data)
        self._lexicons, self._first_terms, self._sets = {}, {}, {}
        fields, n_terms = [], 0
        with progress.task("content: fields", len(features)) as advance:
            for field, feature in features.items():
                lexicon, own = Lexicon.of(field, feature, self.config.buckets)
                self._lexicons[field] = lexicon
                if field in self.config.jaccard:
                    self._sets[field] = SetIndex.of(own, len(lexicon), data.n_items)
                else:
                    self._first_terms[field] = n_terms
                    listed = feature.kind in ("text", "list")
                    discount = self.config.b if listed else 0.0
                    fields.append(FieldTerms(own, len(lexicon), self._weight(field), discount, not listed))
                    n_terms += len(lexicon)
                advance(1)
        self._postings = Postings.of(fields, data.n_items, self.config.k1)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        if query.terms:
            return self._asked(query, quota)
        items, weights = recent(query, self.config.history, self.config.half_life)
        terms, term_weights = self._postings.profile(
            items, weights, self.config.profile_terms, self.config.profile_postings
        )
        terms, term_weights = self._postings.ordered(terms, term_weights)
        if not self._sets:
            return RankedList(*self._postings.search(terms, term_weights, quota, *query.filter))
        sums = Sums(self._postings.n_items)
        self._postings.impacts.add(terms, term_weights, sums)
        for field, index in self._sets.items():
            index.add_similar(items, weights * np.float32(self._weight(field)), sums)
        return sums.top_for(query, quota)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        for number, (field, lexicon) in enumerate(self._lexicons.items()):
            arrays = {"words": lexicon.words.ids(), "edges": lexicon.edges}
            write_component(folder / f"field{number}", arrays, {"field": field, "kind": lexicon.kind})
            if field in self._sets:
                write_component(folder / f"field{number}-set", self._sets[field].arrays(), {})
        write_component(folder / "profiles", self._postings.profiles.arrays(), {})
        meta = {"first_terms": self._first_terms, "n_fields": len(self._lexicons)}
        write_component(folder / "impacts", self._postings.impacts.arrays(), meta)

    @classmethod
    def load(cls, config: ContentConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        impacts, meta = read_component(folder / "impacts")
        profiles, _ = read_component(folder / "profiles")
        path._first_terms, path._lexicons, path._sets = meta["first_terms"], {}, {}
        for number in range(meta["n_fields"]):
            arrays, own = read_component(folder / f"field{number}")
            field = own["field"]
            path._lexicons[field] = Lexicon(own["kind"], Vocabulary(arrays["words"], field), arrays["edges"])
            if field in config.jaccard:
                path._sets[field] = SetIndex(**read_component(folder / f"field{number}-set")[0])
        n_terms = impacts["offsets"].size - 1
        path._postings = Postings(SparseRows.of_arrays(impacts, data.n_items), SparseRows.of_arrays(profiles, n_terms))
        return path

    def _asked(self, query: Query, quota: int) -> RankedList:
        """Items that match the query's terms; a field that is not indexed is passed over."""
        sums = Sums(self._postings.n_items)
        for field, value in query.terms.items():
            if field not in self._lexicons:
                continue
            terms, counts, n_unknown = self._lexicons[field].lookup(value)
            if field in self._sets:
                weight = self._weight(field)
                self._sets[field].add_overlap(terms, terms.size + n_unknown, weight, sums)
            else:
                first = np.int32(self._first_terms[field])
                self._postings.impacts.add(terms + first, counts, sums)
        return sums.top_for(query, quota)

    def _weight(self, field: str) -> float:
        return self.config.field_weights.get(field, 1.0)

    def _chosen(self, data: Dataset) -> dict[str, Feature]:
        """The features to index.

        Raises:
            CannotFit: there are none, or a setting names one that is not there or not of the right kind.
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
