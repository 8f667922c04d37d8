"""The scores of a search on disk, so that a search that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from multirecall.errors import RequestError

FORMAT = 1


class Journal:
    """Scores by candidate, one line each; a search that starts anew finds those of before.

    The search draws nothing at random beyond its seed, so it takes the same way again, at the speed of looking up.
    """

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        """Open `file`, or keep scores in memory only where it is None.

        Raises:
            RequestError: the file cannot be used, or belongs to other lists.
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
        """The score of `key`, from `work` where it is not known yet."""
        if key not in self._scores:
            self._scores[key] = work()
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([key, self._scores[key]]) + "\n")
        return self._scores[key]

    def _read(self, file: Path, head: dict[str, object]) -> None:
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]  # the last line may have been cut off
        try:
            first, *lines = whole.decode().splitlines()
            if json.loads(first) != head:
                raise RequestError(
                    f"journal {file}: belongs to other data, paths or settings; remove it, or name another file"
                )
            self._scores = {str(key): float(score) for key, score in map(json.loads, lines)}
        except (ValueError, TypeError):
            raise RequestError(f"journal {file}: is no journal of a search; name another file") from None
        if len(whole) < len(text):
            os.truncate(file, len(whole))
