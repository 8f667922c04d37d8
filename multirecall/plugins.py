"""How plug-in classes are found: by the name of an entry point, or given by the caller.

Only the module of the named plug-in is imported. The name of a class alone imports nothing, see `GivenClass`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args

from pydantic import SecretBytes, SecretStr

from multirecall.errors import PluginError, UntrustedPlugin
from multirecall.protocols import LIVE, PluginConfig, Retriever, ThreadedConfig
from multirecall.validation import nearest


class Configurable(Protocol):
    """What every plug-in class has."""

    Config: ClassVar[type[PluginConfig]]


P = TypeVar("P", bound=Configurable)


class GivenClass(str):
    """The name `module:Class` of a plug-in class that the caller gave, together with the class.

    It is text wherever a configuration is printed, compared or stored. What is stored is the name alone, which runs no
    code. A caller who reads it back must give the class again.
    """

    __slots__ = ("plugin",)
    plugin: type

    def __new__(cls, plugin: type) -> Self:
        """The name of a class."""
        name = super().__new__(cls, f"{plugin.__module__}:{plugin.__qualname__}")
        name.plugin = plugin
        return name

    def __reduce__(self) -> tuple[type[Self], tuple[type]]:
        return type(self), (self.plugin,)


def is_bare(name: str) -> bool:
    """Whether a name is `module:Class` without the class."""
    return ":" in name and not isinstance(name, GivenClass)


def import_class(name: str) -> type:
    """Import the class `module:Class`. The name must come from the caller, never from data: this runs the module.

    Raises:
        PluginError: the name has another form, cannot be imported, or is no class.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise PluginError(f"{name!r} is no name of a class; write module:Class, such as my_project.fresh:Fresh")
    try:
        found = reduce(getattr, path.split("."), import_module(module))
    except Exception as fault:
        raise PluginError(
            f"{name!r} cannot be imported: {type(fault).__name__}: {fault}; correct the module or the name"
        ) from fault
    if not isinstance(found, type):
        raise PluginError(f"{name!r} is no class; name a class")
    return found


def match_names(names: Iterable[str], plugins: Sequence[type]) -> dict[str, type]:
    """Map each name `module:Class` to the class of `plugins` that it stands for.

    A class of `__main__` is matched by its own name, because a class that was written in a notebook may move into a
    module.

    Raises:
        PluginError: several classes have the own name of one of `__main__`.
    """
    full: dict[str, type] = {GivenClass(plugin): plugin for plugin in plugins}
    found = {}
    for name in names:
        module, _, own = name.partition(":")
        alike = [given for given in full if given.partition(":")[2] == own] if module == "__main__" else []
        if name in full:
            found[name] = full[name]
        elif len(alike) > 1:
            raise PluginError(f"{name} may be {' or '.join(sorted(alike))}; give one of them")
        elif alike:
            found[name] = full[alike[0]]
    return found


@dataclass(frozen=True, slots=True)
class Listing:
    """One installed plug-in.

    Attributes:
        kind: such as `retriever`.
        name: of its entry point.
        origin: where it comes from.
        fault: what is wrong with it; None: nothing.
        threads: what several threads do to a fit: `same bits`, `other bits` where results differ each time, or ""
            where it has no setting for them.
    """

    kind: str
    name: str
    origin: str
    fault: str | None
    threads: str


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[P]):
    """The plug-ins of one kind.

    Attributes:
        entry_points: the group of entry points that they are installed in, such as `multirecall.retrievers`.
        kind: the word for one of them, such as `retriever`.
        base: the class that they inherit.
        fault_of: a further check: what is wrong with a class, or None.
    """

    entry_points: str
    kind: str
    base: type[P]
    fault_of: Callable[[type[P]], str | None] = lambda _: None

    def load(self, name: str) -> type[P]:
        """Find, import and check the plug-in class `name`.

        Args:
            name: of an installed plug-in, or a `GivenClass`.

        Raises:
            PluginError: unknown, claimed twice, not importable, or not a complete subclass of `base`.
            UntrustedPlugin: the bare name of a class.
        """
        if isinstance(name, GivenClass):
            return self._check(name.plugin, f"{self.kind} class {name}")
        if is_bare(name):
            raise UntrustedPlugin(
                f"{self.kind} {name!r} is the name of a class, and a name alone runs no code",
                "give the class itself in its place, or read the configuration with Engine.from_toml",
                [name],
            )
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
                f"{title} cannot be imported: {type(fault).__name__}: {fault}; fix or uninstall it"
            ) from fault
        return self._check(plugin, title)

    def names(self) -> list[str]:
        """The names of all installed plug-ins, sorted. None is imported."""
        return sorted({point.name for point in _points(self.entry_points)})

    def listings(self) -> list[Listing]:
        """All installed plug-ins. Each is imported, to tell whether it works."""
        return [self._listing(name) for name in self.names()]

    def _listing(self, name: str) -> Listing:
        origins = {_origin(point) for point in _points(self.entry_points) if point.name == name}
        fault, threads = None, ""
        try:
            plugin = self.load(name)
        except PluginError as error:
            fault = str(error)
        else:
            if issubclass(plugin, Retriever) and issubclass(plugin.Config, ThreadedConfig):
                threads = "same bits" if plugin.exact_threads else "other bits"
        return Listing(self.kind, name, ", ".join(sorted(origins)), fault, threads)

    def _check(self, plugin: Any, title: str) -> type[P]:
        """Check the class; `title` names it in errors. Raises `PluginError`."""
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
        fault = self.fault_of(plugin)
        if fault is not None:
            raise PluginError(f"{title}: {fault}")
        return plugin


def retriever_fault(plugin: type[Retriever]) -> str | None:
    """What a retriever class declares but does not implement, or None."""
    unknown = sorted(set(plugin.live) - LIVE)
    if unknown:
        return f"its `live` has {unknown[0]!r}; {nearest(unknown[0], LIVE)}"
    if plugin.exact_threads and not issubclass(plugin.Config, ThreadedConfig):
        return "its `exact_threads` is true, but its Config has no `threads`; inherit ThreadedConfig, or drop it"
    if plugin.live and plugin.with_changes is Retriever.with_changes:
        return (
            f"its `live` names {', '.join(sorted(plugin.live))}, but it has no with_changes; define it, or drop `live`"
        )
    return None


def _holds_secret(annotation: Any) -> bool:
    """Whether a type is a pydantic secret or contains one."""
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group. One that two metadata folders of a project repeat counts once."""
    unique = {(point.name, point.value): point for point in entry_points(group=group)}
    return tuple(unique.values())


def _origin(point: EntryPoint) -> str:
    distribution = point.dist.name if point.dist else "unknown project"
    return f"{point.value} of {distribution}"
