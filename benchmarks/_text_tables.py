"""The tables of what text towers find."""

from __future__ import annotations

from typing import Any

from _tables import machine_of, result, table

FORMS = ("clean", "one typo", "every word")
VIEWS = ("among hidden", "over all")
HIDDEN = "hidden "
"""The prefix of the parts about hidden items, before the name of the data set."""


def text_towers() -> str:
    """Items hidden from training, searches with typos, and Cranfield, as far as they are measured."""
    figures = result("text_towers")
    parts = [f"One thread, on {machine_of(figures)}."]
    hidden = {name.removeprefix(HIDDEN): own for name, own in figures.items() if name.startswith(HIDDEN)}
    for case, own in hidden.items():
        parts += [_hidden(case, own)]
    if "typos" in figures:
        parts += [_typos(figures["typos"])]
    if "cranfield" in figures:
        found = ", ".join(f"{name} {value:.3f}" for name, value in figures["cranfield"]["ndcg"].items())
        parts += [
            f"**Cranfield**, {figures['cranfield']['queries']} queries as a test only, NDCG@10: {found}. A thousand "
            "technical texts teach few synonyms, and there the very words are the better key."
        ]
    return "\n\n".join(parts)


def _hidden(case: str, own: dict[str, Any]) -> str:
    rows = []
    for name in own["recall"][VIEWS[0]]:
        gains = [own["gain_over_content"][view].get(name) for view in VIEWS]
        cells = [f"{own['recall'][view][name]:.4f}" for view in VIEWS]
        cells += [f"{gain['share']:+.1%} [{gain['low']:+.4f}, {gain['high']:+.4f}]" if gain else "–" for gain in gains]
        fit = own["fit_cpu_s"].get(name)
        rows.append([name, cells[0], cells[2], cells[1], cells[3], "–" if fit is None else f"{fit:.0f}"])
    return (
        f"**Items hidden from training**, {case}: all events of a tenth of the items ({own['hidden']:,}) are left "
        f"out of the fit, and {own['users']:,} users are asked for those that they chose later. Recall@100 among the "
        "hidden items says how well a path tells them apart; over all items, they compete with those that have events. "
        "Gains over `content` have a paired interval; fused is `rrf` with equal weights.\n\n"
        + table(["path", "among hidden", "gain", "over all", "gain", "fit, CPU s"], rows)
    )


def _typos(figures: dict[str, Any]) -> str:
    rows = []
    for name, own in figures["ndcg"].items():
        over = figures["over_better_bm25"].get(name)
        ratios = [f"{over[form]['ratio']:.3f}" if over else "–" for form in FORMS[1:]]
        single = figures["ndcg_by_words"][name]["one typo"][0]
        rows.append([name, *(f"{own[form]:.3f}" for form in FORMS), *ratios, f"{single:.3f}"])
    limits = next(iter(figures["over_better_bm25"].values()))
    one, every = (limits[form]["largest_ratio_possible"] for form in FORMS[1:])
    head = ["", *FORMS, "one typo / better BM25", "every word / better BM25", "one word with a typo"]
    return (
        f"**Searches for 1 to 4 words of a title**, online-retail, {figures['searches']:,} of them, NDCG@10; relevant "
        "are the items whose titles have all the words as they should be spelt. A typo is one edit of a word; the last "
        f"column has the searches of a single word:\n\n{table(head, rows)}\n\n"
        f"NDCG ends at 1, so on these searches no path can be more than {one:.2f} times (one typo) or {every:.2f} "
        "times (every word) as good as BM25 over letter trigrams."
    )
