"""The code in the README and in `docs/`: every block is run, in the order of its page, and what is shown is compared.

Run as a program, this writes what the blocks print now into the pages that are named.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multirecall import Engine

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

NOT_RUN = {
    "apt-get install": "changes the machine; .ci/run does the same",
    "python3 -m venv .venv && .venv/bin/pip install": "installs; .ci/run runs these commands as they stand",
    "torchrun": "starts processes; test_fit_together.py does",
    "multirecall fit --interactions log.parquet --config engine.toml --out bundle --ray": "likewise, on Ray",
    "pip install": "installs; bench_install.py installs the package and its extras",
    "ENV MULTIRECALL_KERNELS": "is a part of a Dockerfile",
    "multirecall candidates /shared/bundle": "needs a cluster of Ray; test_batch_ray.py starts one",
    "from multirecall.serving.store import": "needs a Redis; test_store.py starts one",
    "from rectools_arrays import": "runs in an environment of RecTools; test_exporters.py makes one",
}
"""Blocks that are not run, by how they begin, and why."""

FENCE = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$', re.MULTILINE | re.DOTALL)

COMMAND = re.compile(
    r"^\$ (?P<command>(?:.*\\\n)*.*(?:\n> .*)*)\n(?P<shown>(?:(?!\$ ).*\n)*)",
    re.MULTILINE,
)
"""A command of a console block, and what it shows."""

VARYING = [
    (re.compile(r"\b\d+([,.]\d+)*(e-\d+)? ?(ms|µs|s|B|KiB|MiB|GiB|MB)\b"), "#"),
    (re.compile(r"\b(\"?ms\"?[:=] ?|fit_seconds=)\d[\d.e-]*"), r"\1#"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?"), "#"),
    (re.compile(r"─+"), "─"),
]
"""What differs from run to run: times, sizes in memory, dates."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: after the fence; `output` for what the block before it prints.
        title: name of the file that it is, or "".
        body: its lines.
        span: where the body stands in the page.
    """

    language: str
    title: str
    body: str
    span: tuple[int, int]


def _take_one_core() -> None:
    """So that paths are fitted, and told of, one after another."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(one["language"], one["title"] or "", one["body"], one.span("body")) for one in FENCE.finditer(text)]


def why_not_run(block: Block) -> str | None:
    """The reason for which a block is not run, or None."""
    lines = [line for line in block.body.splitlines() if line and not line.startswith("#")]
    return next(
        (why for start, why in NOT_RUN.items() if lines and lines[0].removeprefix("$ ").startswith(start)), None
    )


@dataclass(frozen=True)
class Shown:
    """What a page shows of an output, and what came out."""

    span: tuple[int, int]
    shown: str
    printed: str


class Session:
    """Runs the blocks of a page in one folder and one namespace of Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}
        programs = folder / ".programs"
        programs.mkdir()
        for name, module in (("multirecall", "-m multirecall"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n', encoding="utf-8")
            program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        self.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder)])

    def run(self, text: str) -> Iterator[Shown]:
        """Run every block of a page; yields each output that it shows."""
        printed = ""
        for block in blocks_of(text):
            if block.language == "output":
                yield Shown(block.span, block.body, printed)
            elif why_not_run(block) is None:
                printed = ""
                if block.title:
                    self._write(block)
                elif block.language == "toml":
                    tomllib.loads(block.body)
                elif block.language == "python":
                    printed = self._python(block.body)
                elif block.language == "shell":
                    self._shell(block.body)
                elif block.language == "console":
                    yield from self._console(block)
                elif block.language != "text":
                    raise ValueError(f"a block of {block.language or 'no language'}: {block.body[:60]!r}")

    def close(self) -> None:
        """Close the engines that the blocks have left open, and forget the modules that they have written."""
        for one in self.names.values():
            if isinstance(one, Engine):
                one.close()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]

    def _write(self, block: Block) -> None:
        file = self.folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body, encoding="utf-8")
        if "[[paths]]" in block.body:
            with self._importing():
                Engine.from_toml(file)

    def _python(self, code: str) -> str:
        printed = io.StringIO()
        with self._importing(), redirect_stdout(printed):
            exec(compile(code, "block", "exec"), self.names)
        return printed.getvalue()

    @contextmanager
    def _importing(self) -> Iterator[None]:
        """Modules that the page has written can be imported."""
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))

    def _shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
            preexec_fn=_take_one_core,
        )
        if done.returncode:
            raise RuntimeError(f"{command}\n{done.stdout}")
        return done.stdout

    def _console(self, block: Block) -> Iterator[Shown]:
        """Each command with what follows it, up to the next; a line of `> ` goes on with the command."""
        for part in COMMAND.finditer(block.body):
            printed = self._shell(re.sub(r"^> ", "", part["command"], flags=re.MULTILINE))
            start = block.span[0]
            yield Shown((start + part.start("shown"), start + part.end("shown")), part["shown"], printed)


def is_same(shown: str, printed: str) -> bool:
    """Whether what a page shows is what came out, but for what varies; a line `...` stands for any lines."""
    return doctest.OutputChecker().check_output(_settled(shown), _settled(printed), doctest.ELLIPSIS)


def _settled(text: str) -> str:
    text = " ".join(text.split())
    for pattern, settled in VARYING:
        text = pattern.sub(settled, text)
    return text + "\n"


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def write_outputs(page: Path) -> None:
    """Run a page, and write what it prints where it shows something else."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place, _within(Path(place)):
        session = Session(Path(place))
        wrong = [one for one in session.run(text) if not is_same(one.shown, one.printed)]
        session.close()
    for one in reversed(wrong):
        printed = "\n".join(line.rstrip() for line in one.printed.strip("\n").splitlines())
        blank = "\n" if text[one.span[1] :].startswith("$ ") else ""
        text = f"{text[: one.span[0]]}{printed}\n{blank}{text[one.span[1] :]}"
    page.write_text(text, encoding="utf-8")
    print(f"{page}: {len(wrong)} outputs written")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_outputs(Path(name).resolve())
