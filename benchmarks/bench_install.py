"""The size of an installation, package by package, and that the plain one serves a bundle of every built-in retriever.

Each of the extras gets an environment of its own, into which pip takes wheels alone: that shows what needs a compiler.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from _harness import write

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "tests" / "data" / "bundle-format-3"
FOLDERS = ("multirecall", "retrievers", "fusion")

SIZES = """
import json
from importlib.metadata import distributions
def size(one):
    files = {one.locate_file(file) for file in one.files or ()}
    return sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps({one.name: size(one) for one in distributions() if one.name not in ("pip", "setuptools")}))
"""

SERVED = """
import json, sys
from multirecall import Engine, User
with Engine.load(sys.argv[1]) as engine:
    states = {name: one.state for name, one in engine.retrieve(User(history=[sys.argv[2]]), 5).status.items()}
print(json.dumps(states))
"""


def main(
    extras: Annotated[str, typer.Option(help="The extras to measure, with commas between them.")] = "deep,hnsw,graph",
    check: Annotated[bool, typer.Option(help="Only see that the plain installation serves; write nothing.")] = False,
) -> None:
    """Install the package into fresh environments and measure them."""
    with tempfile.TemporaryDirectory() as place:
        source = _source(Path(place))
        plain = _install(Path(place) / "plain", source, "", wheels_only=True)
        shutil.copytree(BUNDLE, bundle := Path(place) / "bundle")
        states = _json(plain, SERVED, str(bundle), "i3")
        if set(states.values()) != {"ok"}:
            raise SystemExit(f"the plain installation does not serve: {states}")
        sizes = _json(plain, SIZES)
        total = sum(sizes.values())
        typer.echo(f"plain: {total / 1e6:.0f} MB, serves {', '.join(states)}")
        if check:
            return
        more: dict[str, Any] = {}
        for extra in extras.split(","):
            python = _install(Path(place) / extra, source, f"[{extra}]", wheels_only=False)
            found = _json(python, SIZES)
            more[extra] = {name: found[name] for name in found if name not in sizes}
            typer.echo(f"{extra}: {sum(more[extra].values()) / 1e6:.0f} MB more")
    write("install", {"plain_bytes": sizes, "extra_bytes": more, "served": sorted(states)})


def _source(place: Path) -> Path:
    """A copy of what is built, since a build leaves files behind."""
    source = place / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    return source


def _install(environment: Path, source: Path, extras: str, *, wheels_only: bool) -> Path:
    """The interpreter of a fresh environment that has the package."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    wheels = ["--only-binary", ":all:"] if wheels_only else []
    install = [str(python), "-m", "pip", "install", "-q", *wheels, "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, f"{source}{extras}"], check=True, cwd=environment)
    return python


def _json(python: Path, program: str, *arguments: str) -> dict[str, Any]:
    """What a program prints, run away from the checkout."""
    away = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-c", program, *arguments]
    done = subprocess.run(command, env=away, cwd=python.parent, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    typer.run(main)
