"""Words that skip-gram trains on per CPU second, beside gensim's Word2Vec at equal settings, in one run."""

from __future__ import annotations

from importlib.util import find_spec
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write
from numpy.typing import NDArray

from multirecall.retrievers._graph.skipgram import SkipGram, SkipGramConfig

SETTINGS: dict[str, Any] = {"dim": 64, "window": 5, "negatives": 5, "learning_rate": 0.05, "subsample": 0.0}


def main(
    vocabulary: Annotated[list[int] | None, typer.Option(help="Vocabulary sizes; repeat for several.")] = None,
    words: Annotated[int, typer.Option(help="Words of a run.")] = 1_000_000,
    runs: Annotated[int, typer.Option(help="Runs of each, in turn; the median counts.")] = 3,
) -> None:
    """Train one epoch on Zipf-distributed sequences of 50 words, one thread each; compile time is excluded."""
    figures = {}
    for size in vocabulary or [5_000, 100_000]:
        weights = 1.0 / np.arange(1, size + 1)
        tokens = np.random.default_rng(0).choice(size, words, p=weights / weights.sum()).astype(np.int32)
        offsets = np.arange(0, words + 1, 50)
        _ours(tokens[:5_000], offsets[:101], size)
        seconds: dict[str, list[float]] = {"multirecall": [], "gensim": []}
        for _ in range(runs):
            seconds["multirecall"].append(_ours(tokens, offsets, size))
            if find_spec("gensim"):
                seconds["gensim"].append(_gensim(tokens, offsets))
        rates = {name: words / float(np.median(values)) for name, values in seconds.items() if values}
        figures[str(size)] = rates
        typer.echo(f"{size:,} words in the vocabulary: " + ", ".join(f"{n} {r:,.0f} words/s" for n, r in rates.items()))
    if not find_spec("gensim"):
        typer.echo("gensim is not installed, so there is no peer: pip install 'multirecall[bench]'")
    typer.echo(write("skipgram", {"settings": SETTINGS, "words": words, "runs": runs, "words_per_cpu_s": figures}))


def _ours(tokens: NDArray[np.int32], offsets: NDArray[np.int64], size: int) -> float:
    counts = np.bincount(tokens, minlength=size)
    model = SkipGram(counts, SkipGramConfig(**SETTINGS), np.random.default_rng(0), planned=tokens.size)
    start = process_time()
    model.train(tokens, offsets)
    return process_time() - start


def _gensim(tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> float:
    from gensim.models import Word2Vec

    sentences = [[str(token) for token in part] for part in np.split(tokens, offsets[1:-1])]
    model = Word2Vec(vector_size=64, window=5, negative=5, sg=1, sample=0, min_count=1, workers=1, alpha=0.05, seed=1)
    model.build_vocab(sentences)
    start = process_time()
    model.train(sentences, total_examples=len(sentences), epochs=1)
    return process_time() - start


if __name__ == "__main__":
    typer.run(main)
