"""The journal of a search: its scores on disk, so that an interrupted search can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from multirecall.errors import RequestError

FORMAT = 1


class Journal:
    """Scores by candidate, one line each, which a resumed search looks up instead of computing them.

    The search depends only on its seed, so that a resumed search asks for the same candidates in the same order.
    """

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        """Open or create `file`; where it is None, scores are kept in memory only.

        Raises:
            RequestError: the file cannot be used, or belongs to other data, paths or settings.
        """
        self._scores: dict[str, float] = {}
        self._file = file
        if file is None:
            return
        head = {"format": FORMAT, "fingerprint": fingerprint}
        try:
            if file.is_file() and file.stat().st_size:
                self._read(file, head)
            else:
                file.write_text(json.dumps(head) + "\n", encoding="utf-8")
        except OSError as fault:
            raise RequestError(f"journal {file}: cannot be used ({fault.strerror}); name another file") from None

    def score(self, key: str, work: Callable[[], float]) -> float:
        """The score of `key`; a score that is not in the journal is computed by `work` and written."""
        if key not in self._scores:
            self._scores[key] = work()
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([key, self._scores[key]]) + "\n")
        return self._scores[key]

    def _read(self, file: Path, head: dict[str, object]) -> None:
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be incomplete
        try:
            first, *lines = whole.decode().splitlines()
            if json.loads(first) != head:
                raise RequestError(
                    f"journal {file}: belongs to other data, paths or settings; remove it, or name another file"
                )
            self._scores = {str(key): float(score) for key, score in map(json.loads, lines)}
        except (ValueError, TypeError):
            raise RequestError(f"journal {file}: is not the journal of a search; name another file") from None
        if len(whole) < len(text):
            os.truncate(file, len(whole))
