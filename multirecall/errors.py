"""The errors that multirecall raises; every one names the place, the value and the remedy."""

from __future__ import annotations

from collections.abc import Sequence


class MultirecallError(Exception):
    """Base of all errors of this package."""


class ConfigError(MultirecallError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(MultirecallError):
    """An interaction log or a feature table breaks a rule of its format."""


class IdTypeError(DataError):
    """An id is neither of the vocabulary's type nor convertible to it without loss."""


class CannotFit(DataError):  # noqa: N818
    """A retriever cannot learn from these data here: they lack item features, say, or its library is not installed."""


class RequestError(MultirecallError):
    """An argument of a request (user, k, exclude, where, …) is unusable."""


class NotFitted(MultirecallError):  # noqa: N818
    """The engine was asked before `fit` or `load`, or after `close`."""


class PathError(MultirecallError):
    """A required path failed, or all paths failed."""


class PluginError(MultirecallError):
    """A plug-in is unknown, broken, or claims a name that another one has."""


class UntrustedPlugin(PluginError):  # noqa: N818
    """A bundle or a configuration names a class whose code the caller has not asked to run.

    Attributes:
        statement: what names it.
        remedy: how the caller says that it may run.
        names: the classes, `module:Class`.
    """

    def __init__(self, statement: str, remedy: str, names: Sequence[str]) -> None:
        super().__init__(statement, remedy, names)
        self.statement, self.remedy, self.names = statement, remedy, tuple(names)

    def __str__(self) -> str:
        return f"{self.statement}; {self.remedy}"


class MissingExtra(MultirecallError):  # noqa: N818
    """A library is not installed; the message names the extra of the package that brings it."""


class BundleError(MultirecallError):
    """A saved engine is missing, damaged, or of another format."""
