"""Finding plug-in classes by name, through entry points. Only the module that is asked for gets imported."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args

from pydantic import SecretBytes, SecretStr

from multirecall.errors import PluginError
from multirecall.protocols import PluginConfig
from multirecall.validation import nearest


class Configurable(Protocol):
    """What every plug-in class has."""

    Config: ClassVar[type[PluginConfig]]


P = TypeVar("P", bound=Configurable)


@dataclass(frozen=True, slots=True)
class Listing:
    """One installed plug-in: its kind, its name, where it comes from, and what is wrong with it (None: nothing)."""

    kind: str
    name: str
    origin: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[P]):
    """The plug-ins of one kind.

    Attributes:
        entry_points: the group of entry points that they are installed in, such as `multirecall.retrievers`.
        kind: what one of them is called, such as `retriever`.
        base: the class that they inherit.
    """

    entry_points: str
    kind: str
    base: type[P]

    def load(self, name: str) -> type[P]:
        """The plug-in class `name`, once it has been checked.

        Raises:
            PluginError: unknown, claimed twice, not importable, or not a complete subclass of `base`.
        """
        points = [point for point in _points(self.entry_points) if point.name == name]
        if not points:
            raise PluginError(f"no {self.kind} plug-in is named {name!r}; {nearest(name, self.names())}")
        if len(points) > 1:
            owners = " and ".join(sorted(map(_origin, points)))
            raise PluginError(f"two {self.kind} plug-ins are named {name!r}: {owners}; uninstall or rename one")
        title = f"{self.kind} plug-in {name!r} ({_origin(points[0])})"
        try:
            plugin = points[0].load()
        except Exception as fault:
            raise PluginError(
                f"{title} cannot be imported: {type(fault).__name__}: {fault}; mend or uninstall it"
            ) from fault
        return self._checked(plugin, title)

    def names(self) -> list[str]:
        """The names of all that are installed, sorted; none is imported."""
        return sorted({point.name for point in _points(self.entry_points)})

    def listings(self) -> list[Listing]:
        """All that are installed, each loaded once to tell whether it works."""
        return [self._listing(name) for name in self.names()]

    def _listing(self, name: str) -> Listing:
        origins = {_origin(point) for point in _points(self.entry_points) if point.name == name}
        fault = None
        try:
            self.load(name)
        except PluginError as error:
            fault = str(error)
        return Listing(self.kind, name, ", ".join(sorted(origins)), fault)

    def _checked(self, plugin: Any, title: str) -> type[P]:
        """The class, which errors call `title`; raises `PluginError`."""
        if not (isinstance(plugin, type) and issubclass(plugin, self.base)) or isabstract(plugin):
            raise PluginError(
                f"{title} is not a complete subclass of {self.base.__module__}.{self.base.__name__}; "
                "let it inherit and define the abstract methods"
            )
        if not (isinstance(plugin.Config, type) and issubclass(plugin.Config, PluginConfig)):
            raise PluginError(f"{title}: its Config must inherit multirecall.protocols.PluginConfig")
        fields = plugin.Config.model_fields.items()
        secret = next((field for field, info in fields if _holds_secret(info.annotation)), None)
        if secret is not None:
            raise PluginError(
                f"{title}: its setting {secret!r} would hold a secret, which a bundle must not; "
                "let it take the name of an environment variable"
            )
        return plugin


def _holds_secret(annotation: Any) -> bool:
    """Whether a type is one of pydantic's secrets, or made of one."""
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """The group's entry points; one that two metadata folders of one project repeat counts once."""
    unique = {(point.name, point.value): point for point in entry_points(group=group)}
    return tuple(unique.values())


def _origin(point: EntryPoint) -> str:
    distribution = point.dist.name if point.dist else "unknown project"
    return f"{point.value} of {distribution}"
