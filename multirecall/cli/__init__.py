"""The command line; `multirecall --help` lists the commands."""

from __future__ import annotations

import logging
import sys

import typer

from multirecall.cli.demo import demo
from multirecall.cli.doctor import doctor
from multirecall.cli.evaluate import evaluate_command
from multirecall.cli.fit import fit
from multirecall.cli.plugins import plugins
from multirecall.cli.retrieve import retrieve
from multirecall.cli.tables import console
from multirecall.cli.tune import tune_command
from multirecall.cli.versions import rollback, salvage, versions
from multirecall.cli.warm import warm
from multirecall.errors import MultirecallError

app = typer.Typer(
    name="multirecall",
    help="Multi-path recall: the candidate-generation stage of a recommender.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo)
app.command()(fit)
app.command()(retrieve)
app.command("evaluate")(evaluate_command)
app.command("tune")(tune_command)
app.command()(versions)
app.command()(rollback)
app.command()(salvage)
app.command()(plugins)
app.command()(doctor)
app.command()(warm)


class _Notes(logging.Handler):
    """Shows what the library notes, as one line each on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        console(stderr=True).print(f"note: {record.getMessage()}", style="yellow")


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1, never a traceback."""
    logger = logging.getLogger("multirecall")
    logger.addHandler(_Notes())
    logger.propagate = False
    try:
        app()
    except MultirecallError as fault:
        console(stderr=True).print(f"error: {fault}", style="red")
        sys.exit(1)
