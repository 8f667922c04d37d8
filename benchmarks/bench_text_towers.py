"""The text towers where words are all that is known: items hidden from training, and searches with typos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _harness import RESULTS, write
from _searches import BM25, FORMS, Searches, answers_of, ndcg
from numpy.typing import NDArray

from multirecall import Dataset
from multirecall.csr import offsets_of
from multirecall.evaluation import Split, split_of_logs
from multirecall.fusion.rrf import ReciprocalRankFusion
from multirecall.learning.bootstrap import interval
from multirecall.lists import RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import Progress, terminal_progress
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.retrievers._queries import query_of

OUT = "text_towers"
TOWERS = ("dssm", "cdssm")
SHARE, MOST_USERS, K = 0.1, 3_000, 100
SEARCHES, TUNING = 2_000, 400
SEEDS = {"test": 2_024, "slice": 7}
"""The seeds of hidden items and of searches: those of the test part, and those that settings were chosen on."""

HIDDEN = (
    "The log ends where its newest tenth of events begins, and all events of a random tenth of the items are taken out "
    "of it; the items stay in the catalogue. The targets are the hidden items that users of that log chose in the "
    "newest tenth. Recall@100 among the hidden items ranks nothing but these, so that it says how well a path tells "
    "them apart by their words. Over all items they compete with those that have events, which are no targets here, "
    "although users chose them too: it says how far forward a path brings new items by itself. Settings were chosen on "
    "the training part alone, with other hidden items and a cut at its own newest tenth. Fused: RRF, equal weights. "
    "Intervals are paired by user."
)
TYPOS = (
    "NDCG@10 of searches of 1 to 4 words of a title, drawn with a seed of their own; relevant (binary) are the items "
    "whose titles have all the clean words. A typo inserts, removes, replaces or swaps letters at one place of a word. "
    "k1 and b of BM25, and the settings of the towers, were chosen on searches of another seed."
)
CRANFIELD = (
    "NDCG@10 on the 225 queries with binary judgements; the towers learn from titles and the text of the same "
    "document, and searches drawn from both; no query and no judgement is used for training."
)

app = typer.Typer(add_completion=False, help=__doc__)
Data = Annotated[Path, typer.Option(help="Folder of the data sets.", exists=True)]
OnSlice = Annotated[bool, typer.Option("--slice", help="Measure where settings are chosen, and write nothing.")]
Settings = Annotated[str, typer.Option(help="Settings of the towers, as JSON.")]


@app.command()
def hidden(
    case: Annotated[str, typer.Argument(help="online-retail or ml-1m.")],
    data: Data = Path("data"),
    on_slice: OnSlice = False,
    settings: Settings = "{}",
    towers: Annotated[str, typer.Option(help="The towers, with commas between them.")] = ",".join(TOWERS),
) -> None:
    """Items without events in training: recall@100 of `content`, of the towers, and of both fused."""
    split, cold = hide_items(data / case, SEEDS["slice" if on_slice else "test"], on_slice)
    queries = [query_of(split.train, int(row)) for row in split.train.users.ids.rows(split.users)]
    figures: dict[str, Any] = {"split": split.describe(), "hidden": int(cold.sum()), "users": split.users.size}
    figures |= {"note": HIDDEN, "fit_cpu_s": {}, "recall": {}, "gain_over_content": {}}
    with terminal_progress() as progress:
        lists: dict[str, dict[str, RankedBatch]] = {"among hidden": {}, "over all": {}}
        for name in ("content", *towers.split(",")):
            path = fit(name, split.train, json.loads(settings) if name in TOWERS else {}, figures, progress)
            for view, allowed in (("among hidden", cold), ("over all", None)):
                lists[view][name] = ask_all(path, queries, allowed)
    for view, own in lists.items():
        for name in towers.split(","):
            own[f"content + {name}"] = fused(own["content"], own[name])
        recalls = {name: recall(batch, split) for name, batch in own.items()}
        figures["recall"][view] = {name: float(values.mean()) for name, values in recalls.items()}
        gains = {name: gain(values, recalls["content"]) for name, values in recalls.items() if name != "content"}
        figures["gain_over_content"][view] = gains
    finish(f"hidden {case}", figures, on_slice)


@app.command()
def typos(
    data: Data = Path("data"), on_slice: OnSlice = False, settings: Settings = "{}", towers: str = "dssm,cdssm"
) -> None:
    """Searches over the titles of online-retail, clean and with typos: NDCG@10 of the towers and of BM25."""
    log, items = read(data / "online-retail")
    catalogue = Dataset.from_frames(log, items)
    titles = [catalogue.items.values(row).get("title") or "" for row in range(catalogue.n_items)]
    tuning = Searches.draw(titles, TUNING, SEEDS["slice"])
    asked = Searches.draw(titles, SEARCHES, SEEDS["slice" if on_slice else "test"])
    figures: dict[str, Any] = {"note": TYPOS, "searches": SEARCHES, "fit_cpu_s": {}, "bm25": {}, "ndcg": {}}
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    with terminal_progress() as progress:
        for name, letters in (("BM25, words", None), ("BM25, letter trigrams", 3)):
            index = BM25.chosen(titles, letters, lambda one: sum(tuning.ndcg(one, form).mean() for form in FORMS))
            figures["bm25"][name] = index.settings
            values[name] = {form: asked.ndcg(index, form) for form in FORMS}
        for name in towers.split(","):
            path = fit(name, catalogue, json.loads(settings), figures, progress)
            values[name] = {form: asked.ndcg(answers_of(path), form) for form in FORMS}
    figures["ndcg"] = {name: {form: float(one.mean()) for form, one in own.items()} for name, own in values.items()}
    figures["ndcg_by_words"] = {
        name: {form: [float(one[asked.n_words == n].mean()) for n in range(1, 5)] for form, one in own.items()}
        for name, own in values.items()
    }
    best = {
        form: max((name for name in values if "BM25" in name), key=lambda one: values[one][form].mean())
        for form in FORMS
    }
    figures["over_better_bm25"] = {
        name: {
            form: {
                "bm25": best[form],
                "ratio": float(own[form].mean() / values[best[form]][form].mean()),
                "largest_ratio_possible": float(1 / values[best[form]][form].mean()),
                "ratio_of_single_words": float(
                    own[form][asked.n_words == 1].mean() / values[best[form]][form][asked.n_words == 1].mean()
                ),
                "gain": gain(own[form], values[best[form]][form]),
                "share_of_own_clean": float(own[form].mean() / own["clean"].mean()),
            }
            for form in FORMS
        }
        for name, own in values.items()
        if "BM25" not in name
    }
    finish("typos", figures, on_slice)


@app.command()
def cranfield(data: Data = Path("data"), settings: Settings = "{}") -> None:
    """The 225 judged queries of Cranfield, as a test only: NDCG@10 of the towers beside BM25."""
    folder = data / "ir-cranfield"
    documents, queries, judged = (pl.read_parquet(folder / f"{name}.parquet") for name in ("docs", "queries", "qrels"))
    texts = [f"{title}\n{text}" for title, text in documents.select("title", "text").iter_rows()]
    n = len(texts)
    items = pl.DataFrame({"item_id": range(2 * n), "title": [*texts, *documents["title"]]})
    pairs = {"user_id": [*range(n)] * 2, "item_id": [*range(n, 2 * n), *range(n)], "position": [0] * n + [1] * n}
    catalogue = Dataset.from_frames(pl.DataFrame(pairs), items, kinds={"title": "text"})
    rows = {number: row for row, number in enumerate(documents["doc_id"])}
    relevant = [
        sorted(
            rows[one] for one in judged.filter((pl.col("qid") == number) & (pl.col("rel") > 0))["doc_id"] if one in rows
        )
        for number in queries["qid"]
    ]
    answerable = [place for place, own in enumerate(relevant) if own]
    offsets = offsets_of([len(relevant[place]) for place in answerable])
    targets = np.concatenate([relevant[place] for place in answerable]).astype(np.int32)
    asked = [queries["text"][place] for place in answerable]
    allowed = np.arange(2 * n) < n
    figures: dict[str, Any] = {"note": CRANFIELD, "queries": len(asked), "fit_cpu_s": {}, "ndcg": {}}
    with terminal_progress() as progress:
        for name, letters in (("BM25, words", None), ("BM25, letter trigrams", 3)):
            index = BM25(texts, letters, 1.2, 0.75)
            figures["ndcg"][name] = float(ndcg([index(one) for one in asked], offsets, targets).mean())
        for name in TOWERS:
            path = fit(name, catalogue, json.loads(settings), figures, progress)
            ask = answers_of(path, allowed=allowed)
            figures["ndcg"][name] = float(ndcg([ask(one) for one in asked], offsets, targets).mean())
    finish("cranfield", figures, False)


def read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log and the items with their words."""
    log, items = (pl.read_parquet(folder / f"{table}.parquet") for table in ("interactions", "items"))
    return log.select(*(name for name in ("user_id", "item_id", "timestamp", "position") if name in log.columns)), items


def hide_items(folder: Path, seed: int, on_slice: bool) -> tuple[Split, NDArray[np.bool_]]:
    """The split of `HIDDEN`, and which items are hidden, bool (n_items,)."""
    log, items = read(folder)
    log, later = cut(log)
    if on_slice:
        log, later = cut(log)
    known = log["item_id"].unique().sort()
    cold = known.sample(int(SHARE * len(known)), seed=seed)
    is_cold = pl.col("item_id").is_in(cold.implode())
    train = Dataset.from_frames(log.filter(~is_cold), items)
    users = log.filter(~is_cold)["user_id"].unique().sort()
    users = users.sample(min(MOST_USERS * 10, len(users)), seed=seed)
    test = later.filter(is_cold & pl.col("user_id").is_in(users.implode()))
    split = split_of_logs(train, Dataset.from_frames(test))
    if split.users.size > MOST_USERS:
        chosen = np.sort(np.random.default_rng(seed).choice(split.users.size, MOST_USERS, replace=False))
        split = split.take(chosen, split.name)
    return split, np.isin(train.items.ids.ids(), cold.to_numpy())


def cut(log: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log before its newest tenth, and that."""
    moment = log["timestamp"].sort()[int(0.9 * log.height)]
    return log.filter(pl.col("timestamp") < moment), log.filter(pl.col("timestamp") >= moment)


def fit(name: str, data: Dataset, settings: dict[str, Any], figures: dict[str, Any], progress: Progress) -> Any:
    """The fitted retriever; its CPU time goes into `figures`."""
    kind = retriever_class(name)
    path = kind(kind.Config.model_validate(settings))
    start = process_time()
    path.fit(data, rng=np.random.default_rng(0), progress=progress)
    figures["fit_cpu_s"][name] = process_time() - start
    return path


def ask_all(path: Any, queries: list[Query], allowed: NDArray[np.bool_] | None) -> RankedBatch:
    """The path's first 100 items for each user among `allowed`, without those that they had."""
    asked = [replace(query, exclude=np.unique(query.history), allowed=allowed) for query in queries]
    found: RankedBatch = path.retrieve_batch(asked, K)
    return found


def fused(first: RankedBatch, second: RankedBatch) -> RankedBatch:
    """RRF of both with equal weights."""
    merged = ReciprocalRankFusion(ReciprocalRankFusion.Config()).fuse_batch([first, second], [1.0, 1.0], [K, K], K)
    return RankedBatch(merged.offsets, merged.items, merged.scores.astype(np.float32))


def recall(lists: RankedBatch, split: Split) -> NDArray[np.float64]:
    """Recall@100 of each user."""
    found = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, (K,))
    values: NDArray[np.float64] = found[METRICS.index("recall"), :, 0]
    return values


def gain(values: NDArray[np.float64], beside: NDArray[np.float64]) -> dict[str, float]:
    """The mean gain with its paired interval, and as a share of what it is gained over."""
    found = interval(values - beside)
    return {"mean": found.mean, "low": found.low, "high": found.high, "share": found.mean / float(beside.mean())}


def finish(part: str, figures: dict[str, Any], on_slice: bool) -> None:
    """Print the figures, and write them beside the other parts' unless they are of a slice."""
    typer.echo(json.dumps(figures, indent=1))
    file = RESULTS / f"{OUT}.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    before.pop("machine", None)
    if not on_slice:
        typer.echo(write(OUT, {**before, part: figures}))


if __name__ == "__main__":
    app()
