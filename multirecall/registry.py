"""The kinds of plug-ins that an engine's configuration names; those of indexes stand in `vector_index`."""

from __future__ import annotations

from multirecall.plugins import Listing, PluginGroup, retriever_fault
from multirecall.protocols import Fusion, Retriever
from multirecall.vector_index import INDEXES

RETRIEVERS = PluginGroup("multirecall.retrievers", "retriever", Retriever, retriever_fault)  # type: ignore[type-abstract]
FUSIONS = PluginGroup("multirecall.fusion", "fusion", Fusion)  # type: ignore[type-abstract]

GROUPS = (RETRIEVERS, FUSIONS, INDEXES)
"""All kinds of plug-ins."""


def retriever_class(name: str) -> type[Retriever]:
    """The retriever plug-in `name`; raises `PluginError` as `PluginGroup.load`."""
    return RETRIEVERS.load(name)


def fusion_class(name: str) -> type[Fusion]:
    """The fusion plug-in `name`; raises as `retriever_class`."""
    return FUSIONS.load(name)


def listings() -> list[Listing]:
    """Every installed plug-in, loaded once to tell whether it works."""
    return [one for group in GROUPS for one in group.listings()]
