"""BM25 over generated documents beside bm25s, on the same tokens, in one run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import bm25s
import numpy as np
import typer
from _harness import Cost, cost, write
from bm25s.tokenization import Tokenized
from numpy.typing import NDArray

from multirecall.data import Text
from multirecall.progress import terminal_progress
from multirecall.retrievers._text.postings import FieldTerms, Postings
from multirecall.retrievers._text.terms import Lexicon, count_terms
from multirecall.sums import Sums

SEED = 1
K1, B = 1.2, 0.75
MEAN_LENGTH = 30
PERCENTILES = (50, 95, 99)
NOTE = (
    "One thread. bm25s: method lucene, the same k1 and b; numpy and numba backends. Both index the same token numbers, "
    "bm25s as its Tokenized lists, which are made beforehand. From text: our index from texts held as UTF-8 arrays, "
    "bm25s.tokenize (no stop words, no stemmer) and index from the same texts as Python strings. The builds of bm25s "
    "and those from text are timed once, ours in the median of the runs. Compile time is left out: ours first indexed "
    "a hundredth of the documents, and every search first answered five queries."
)


def main(
    documents: Annotated[int, typer.Option(help="Documents in the index.")] = 1_000_000,
    words: Annotated[int, typer.Option(help="Words of the vocabulary; their frequencies follow Zipf's law.")] = 200_000,
    queries: Annotated[int, typer.Option(help="Queries of 5 to 10 words, drawn like those of documents.")] = 200,
    peer_queries: Annotated[int, typer.Option(help="Queries that bm25s answers, the first ones.")] = 60,
    k: Annotated[int, typer.Option(help="Documents asked for.")] = 100,
    runs: Annotated[int, typer.Option(help="Runs of each index build and of each set of queries.")] = 3,
    text: Annotated[bool, typer.Option(help="Also index from text.")] = True,
) -> None:
    """Build and ask both; every pruned answer is compared with the sum over all postings, to the bit."""
    rng = np.random.default_rng(SEED)
    tokens, offsets = corpus(rng, documents, words)
    asked = [draw_tokens(rng, int(rng.integers(5, 11)), words) for _ in range(queries)]
    few = documents // 100
    ours_of(tokens[: offsets[few]], offsets[: few + 1], words)
    index: dict[str, Any] = {}
    with terminal_progress() as progress, progress.task("stages", 7 if text else 5) as advance:
        index["multirecall"] = cost(lambda: ours_of(tokens, offsets, words), runs)
        ours = ours_of(tokens, offsets, words)
        advance(1)
        tokenised = Tokenized(
            [part.tolist() for part in np.split(tokens, offsets[1:-1])], {str(word): word for word in range(words)}
        )
        peers = {"bm25s numpy": peer_of(tokenised, "numpy"), "bm25s numba": peer_of(tokenised, "numba")}
        advance(1)
        index["bm25s"] = cost(lambda: peer_of(tokenised, "numpy"), 1)
        advance(1)
        searches: dict[str, tuple[Callable[[NDArray[np.int32]], object], list[NDArray[np.int32]]]] = {
            "multirecall": (lambda query: search_ours(ours, query, k), asked),
            "multirecall unpruned": (lambda query: sum_all(ours, query, k), asked),
        }
        for name, peer in peers.items():
            searches[name] = (lambda query, peer=peer: ask_peer(peer, query, k)), asked[:peer_queries]  # type: ignore[misc]
        times = {name: time_queries(ask, some, runs) for name, (ask, some) in searches.items()}
        advance(1)
        equal = sum(same(search_ours(ours, query, k), sum_all(ours, query, k)) for query in asked)
        overlap = float(np.mean([agreement(ours, peers["bm25s numpy"], query, k) for query in asked[:peer_queries]]))
        advance(1)
        if text:
            strings = join_documents(tokens, offsets)
            column = Text.of(strings)
            index["multirecall from text"] = cost(lambda: from_text(column, documents), 1)
            advance(1)
            index["bm25s from text"] = cost(lambda: peer_from_text(strings), 1)
            advance(1)
    figures: dict[str, Any] = {
        "documents": documents,
        "tokens": int(offsets[-1]),
        "words": words,
        "postings": int(ours.impacts.columns.size),
        "queries": queries,
        "peer_queries": peer_queries,
        "k": k,
        "runs": runs,
        "threads": 1,
        "seed": SEED,
        "peer": f"bm25s {version('bm25s')}",
        "note": NOTE,
        "pruned_equal_to_unpruned": f"{equal} of {queries}",
        "share_of_bm25s_top_that_is_ours": overlap,
        "index": {name: value._asdict() for name, value in index.items()},
        "query": times,
        "ratios": ratios(index, times),
    }
    for name in ("index", "query", "ratios"):
        for row, value in figures[name].items():
            typer.echo(f"{name:7} {row:24} {value}")
    typer.echo(write("bm25", figures))


def corpus(rng: np.random.Generator, documents: int, words: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Token numbers of all documents, and where each begins."""
    lengths = np.maximum(rng.poisson(MEAN_LENGTH, documents), 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return draw_tokens(rng, int(offsets[-1]), words), offsets


def draw_tokens(rng: np.random.Generator, n: int, words: int) -> NDArray[np.int32]:
    """`n` token numbers by Zipf's law with exponent 1."""
    reach = np.cumsum(1 / np.arange(1, words + 1))
    found: NDArray[np.int32] = np.minimum(np.searchsorted(reach, rng.random(n) * reach[-1]), words - 1).astype(np.int32)
    return found


def ours_of(tokens: NDArray[np.int32], offsets: NDArray[np.int64], words: int) -> Postings:
    """Our index of token numbers."""
    counts = count_terms(offsets, tokens, words)
    return Postings.of([FieldTerms(counts, words, 1.0, B, False)], offsets.size - 1, K1)


def from_text(column: Text, documents: int) -> Postings:
    """Our index of texts, as `content` makes it."""
    lexicon, counts = Lexicon.of("text", column, 10)
    return Postings.of([FieldTerms(counts, len(lexicon), 1.0, B, False)], documents, K1)


def peer_of(tokenised: Tokenized, backend: str) -> Any:
    """The peer's index of token numbers."""
    peer = bm25s.BM25(method="lucene", k1=K1, b=B, backend=backend)
    peer.index(tokenised, show_progress=False)
    return peer


def peer_from_text(texts: list[str]) -> Any:
    """The peer's index of texts."""
    tokens = bm25s.tokenize(texts, stopwords=None, show_progress=False)
    return peer_of(tokens, "numpy")


def search_ours(index: Postings, query: NDArray[np.int32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Our pruned answer."""
    terms, counts = np.unique(query, return_counts=True)
    found: tuple[NDArray[np.int32], NDArray[np.float32]]
    found = index.search(*index.order(terms, counts.astype(np.float32)), k)
    return found


def sum_all(index: Postings, query: NDArray[np.int32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The answer from all postings."""
    terms, counts = np.unique(query, return_counts=True)
    sums = Sums(index.n_items)
    index.impacts.add(*index.order(terms, counts.astype(np.float32)), sums)
    found: tuple[NDArray[np.int32], NDArray[np.float32]] = sums.top(k)
    return found


def ask_peer(peer: Any, query: NDArray[np.int32], k: int) -> Any:
    """The peer's answer."""
    return peer.retrieve([query.tolist()], k=k, show_progress=False, n_threads=1).documents[0]


def time_queries(
    ask: Callable[[NDArray[np.int32]], object], asked: list[NDArray[np.int32]], runs: int
) -> dict[str, float]:
    """Milliseconds a query: the median of the runs' CPU and wall means, and percentiles over queries."""
    for query in asked[:5]:
        ask(query)
    whole = cost(lambda: [ask(query) for query in asked], runs)
    single = [cost(lambda query=query: ask(query), 1).wall_s for query in asked]  # type: ignore[misc]
    shown = {f"p{one}_ms": float(np.percentile(single, one)) * 1e3 for one in PERCENTILES}
    return {"cpu_ms": whole.cpu_s / len(asked) * 1e3, "wall_ms": whole.wall_s / len(asked) * 1e3, **shown}


def same(first: tuple[NDArray[Any], NDArray[Any]], second: tuple[NDArray[Any], NDArray[Any]]) -> bool:
    """Whether two answers are equal to the bit."""
    return all(one.tobytes() == other.tobytes() for one, other in zip(first, second, strict=True))


def agreement(index: Postings, peer: Any, query: NDArray[np.int32], k: int) -> float:
    """The share of the peer's documents that are among ours; ties and rounding may swap those on the edge."""
    return float(np.isin(ask_peer(peer, query, k), search_ours(index, query, k)[0]).mean())


def join_documents(tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> list[str]:
    """The documents as texts."""
    spelt = [f"w{word}" for word in range(int(tokens.max()) + 1)]
    return [" ".join([spelt[token] for token in part.tolist()]) for part in np.split(tokens, offsets[1:-1])]


def ratios(index: dict[str, Cost], times: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times as much CPU the peer needs."""
    found = {"index": index["bm25s"].cpu_s / index["multirecall"].cpu_s}
    if "bm25s from text" in index:
        found["index from text"] = index["bm25s from text"].cpu_s / index["multirecall from text"].cpu_s
    for name in ("bm25s numpy", "bm25s numba", "multirecall unpruned"):
        found[f"query, {name}"] = times[name]["cpu_ms"] / times["multirecall"]["cpu_ms"]
    return found


if __name__ == "__main__":
    typer.run(main)
