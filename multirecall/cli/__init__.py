"""The command line; `multirecall --help` lists the commands."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version as installed
from typing import Annotated

import typer

from multirecall.cli.candidates import candidates
from multirecall.cli.demo import demo
from multirecall.cli.doctor import doctor
from multirecall.cli.drift import drift
from multirecall.cli.evaluate import evaluate_command
from multirecall.cli.experiment import experiment
from multirecall.cli.explain import explain
from multirecall.cli.export import export
from multirecall.cli.fit import fit
from multirecall.cli.index_bench import index_bench
from multirecall.cli.monitoring import monitoring
from multirecall.cli.plugins import plugins
from multirecall.cli.refit import refit
from multirecall.cli.replay import replay
from multirecall.cli.retrieve import retrieve
from multirecall.cli.screen import note, replace_unprintable, show_error, show_log
from multirecall.cli.serve import serve, serve_key
from multirecall.cli.shard import shard
from multirecall.cli.similar import similar
from multirecall.cli.store import store
from multirecall.cli.tune import tune_command
from multirecall.cli.versions import rollback, salvage, versions
from multirecall.cli.warm import warm
from multirecall.deprecation import PREFIX
from multirecall.errors import MultirecallError


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"multirecall {installed('multirecall')}")
        raise typer.Exit


app = typer.Typer(
    name="multirecall",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo)
app.command()(fit)
app.command()(retrieve)
app.command()(explain)
app.command()(similar)
app.command("evaluate")(evaluate_command)
app.command("tune")(tune_command)
app.command()(candidates)
app.command()(export)
app.command()(refit)
app.command()(versions)
app.command()(rollback)
app.command()(salvage)
app.command()(plugins)
app.command()(doctor)
app.command("index-bench")(index_bench)
app.command()(warm)
app.command()(drift)
app.command()(replay)
app.command()(shard)
app.command()(serve)
app.command("serve-key")(serve_key)
app.add_typer(store, name="store")
app.add_typer(experiment, name="experiment")
app.add_typer(monitoring, name="monitoring")


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Multi-path recall: the candidate-generation stage of a recommender."""


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1, never a traceback."""
    replace_unprintable()
    warnings.filterwarnings("default", PREFIX, DeprecationWarning)
    warnings.showwarning = lambda message, *_: note(str(message).removeprefix(PREFIX))
    show_log()
    try:
        app()
    except MultirecallError as fault:
        show_error(fault)
        sys.exit(1)
