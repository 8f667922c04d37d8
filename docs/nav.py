"""A hook of MkDocs: the decisions stand in the navigation as their index groups them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

INDEX = "decisions/index.md"
ENTRY = re.compile(r"^(?:## (?P<group>.+)|- \[.+\]\((?P<page>[\w-]+\.md)\))$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Put the groups of the index behind it, in the section that holds it."""
    text = Path(config.docs_dir, INDEX).read_text(encoding="utf-8")
    groups: dict[str, list[str]] = {}
    for entry in ENTRY.finditer(text):
        if entry["group"]:
            pages = groups[entry["group"]] = []
        else:
            pages.append(f"decisions/{entry['page']}")
    section = next(pages for part in config.nav for pages in part.values() if INDEX in pages)
    section += [{group: pages} for group, pages in groups.items()]
    return config
