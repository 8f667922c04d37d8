"""The errors that multirecall raises. Each message names the place, the value and the remedy."""

from __future__ import annotations

from collections.abc import Sequence


class MultirecallError(Exception):
    """Base of all errors of this package."""


class ConfigError(MultirecallError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(MultirecallError):
    """An interaction log, a feature table or a live change breaks a rule of its format."""


class UnknownItems(DataError):  # noqa: N818
    """A live change names items that the catalogue does not have."""


class IdTypeError(DataError):
    """An id is not of the vocabulary's type (int or str), or no integer type holds all ids."""


class CannotFit(DataError):  # noqa: N818
    """A retriever cannot learn: the data lack what it needs, such as item features, or a library is not installed."""


class ProcessLost(MultirecallError):  # noqa: N818
    """Another process of a fit by several processes has ended, or does not answer."""


class RequestError(MultirecallError):
    """An argument of a request (user, k, exclude, where, …) is invalid."""


class UnknownItem(RequestError):  # noqa: N818
    """A call about one item names an id that the catalogue does not have."""


class NotFitted(MultirecallError):  # noqa: N818
    """The engine was used before `fit` or `load`, or after `close`."""


class NotDeployed(MultirecallError):  # noqa: N818
    """The deployment lacks what a path needs, such as the address of a service. The path is then `skipped`."""


class ServiceError(MultirecallError):
    """A remote service answers with what it must not: another status, too much, or items and scores that are none."""


class PathError(MultirecallError):
    """A required path failed, or all paths failed."""


class PluginError(MultirecallError):
    """A plug-in is unknown or broken, or has the name of another plug-in."""


class UntrustedPlugin(PluginError):  # noqa: N818
    """A bundle or a configuration names a class to import, and the caller has not allowed its code to run.

    Attributes:
        statement: the first part of the message: where the class is named.
        remedy: the second part of the message: how the caller allows the class.
        names: the classes, `module:Class`.
    """

    def __init__(self, statement: str, remedy: str, names: Sequence[str]) -> None:
        super().__init__(statement, remedy, names)
        self.statement, self.remedy, self.names = statement, remedy, tuple(names)

    def __str__(self) -> str:
        return f"{self.statement}; {self.remedy}"


class MissingExtra(MultirecallError):  # noqa: N818
    """A library is not installed; the message names the extra of multirecall that installs it."""


class BundleError(MultirecallError):
    """A saved engine is missing or damaged, or has another format."""


class BundleHeld(BundleError):  # noqa: N818
    """Another process writes the bundle, or has written another version since this one loaded it."""
