"""Finding plug-ins by name through entry points. Only the module that is asked for gets imported."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any, Literal, TypeVar, get_args

from pydantic import SecretBytes, SecretStr

from multirecall.errors import PluginError
from multirecall.protocols import Fusion, PluginConfig, Retriever
from multirecall.validation import nearest

Group = Literal["multirecall.retrievers", "multirecall.fusion"]
RETRIEVERS: Group = "multirecall.retrievers"
FUSIONS: Group = "multirecall.fusion"

P = TypeVar("P", Retriever, Fusion)


@dataclass(frozen=True, slots=True)
class Listing:
    """One installed plug-in: its name, where it comes from, and what is wrong with it (None: nothing)."""

    group: Group
    name: str
    origin: str
    fault: str | None


def retriever_class(name: str) -> type[Retriever]:
    """The retriever plug-in `name`.

    Raises:
        PluginError: unknown, broken, or claimed twice.
    """
    return _load(RETRIEVERS, name, Retriever)  # type: ignore[type-abstract]


def fusion_class(name: str) -> type[Fusion]:
    """The fusion plug-in `name`; raises as `retriever_class`."""
    return _load(FUSIONS, name, Fusion)  # type: ignore[type-abstract]


def listings() -> list[Listing]:
    """Every installed plug-in, loaded once to tell whether it works."""
    found = []
    for group, load in ((RETRIEVERS, retriever_class), (FUSIONS, fusion_class)):
        for name in sorted({point.name for point in _points(group)}):
            origins = ", ".join(sorted({_origin(point) for point in _points(group) if point.name == name}))
            fault = None
            try:
                load(name)
            except PluginError as error:
                fault = str(error)
            found.append(Listing(group, name, origins, fault))
    return found


def _load(group: Group, name: str, base: type[P]) -> type[P]:
    points = [point for point in _points(group) if point.name == name]
    kind = base.__name__.lower()
    if not points:
        remedy = nearest(name, {point.name for point in _points(group)})
        raise PluginError(f"no {kind} plug-in is named {name!r}; {remedy}")
    if len(points) > 1:
        owners = " and ".join(sorted(_origin(point) for point in points))
        raise PluginError(f"two {kind} plug-ins are named {name!r}: {owners}; uninstall or rename one")
    try:
        plugin = points[0].load()
    except Exception as fault:
        raise PluginError(
            f"{kind} plug-in {name!r} ({_origin(points[0])}) cannot be imported: "
            f"{type(fault).__name__}: {fault}; mend or uninstall it"
        ) from fault
    if not (isinstance(plugin, type) and issubclass(plugin, base)) or isabstract(plugin):
        raise PluginError(
            f"{kind} plug-in {name!r} ({_origin(points[0])}) is not a complete subclass of "
            f"multirecall.protocols.{base.__name__}; let it inherit and define the abstract methods"
        )
    if not (isinstance(plugin.Config, type) and issubclass(plugin.Config, PluginConfig)):
        raise PluginError(
            f"{kind} plug-in {name!r} ({_origin(points[0])}): its Config must inherit "
            "multirecall.protocols.PluginConfig"
        )
    secret = next((field for field, info in plugin.Config.model_fields.items() if _holds_secret(info.annotation)), None)
    if secret is not None:
        raise PluginError(
            f"{kind} plug-in {name!r} ({_origin(points[0])}): its setting {secret!r} would hold a secret, which a "
            "bundle must not; let it take the name of an environment variable"
        )
    return plugin


def _holds_secret(annotation: Any) -> bool:
    """Whether a type is one of pydantic's secrets, or made of one."""
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


@cache
def _points(group: Group) -> tuple[EntryPoint, ...]:
    """The group's entry points; one that two metadata folders of one project repeat counts once."""
    unique = {(point.name, point.value): point for point in entry_points(group=group)}
    return tuple(unique.values())


def _origin(point: EntryPoint) -> str:
    distribution = point.dist.name if point.dist else "unknown project"
    return f"{point.value} of {distribution}"
