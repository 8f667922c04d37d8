from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from multirecall.errors import PluginError
from multirecall.registry import FUSIONS, RETRIEVERS, fusion_class, listings, retriever_class


def test_built_ins_come_by_the_same_route() -> None:
    assert {point.name for point in entry_points(group=RETRIEVERS.entry_points)} >= {"content", "item_cf", "popularity"}
    assert {point.name for point in entry_points(group=FUSIONS.entry_points)} >= {"cascade", "rrf", "weighted_sum"}


def test_unknown_name_gets_the_nearest_or_all() -> None:
    with pytest.raises(PluginError, match="no retriever plug-in is named 'itemcf'; did you mean 'item_cf'"):
        retriever_class("itemcf")
    with pytest.raises(PluginError, match="no fusion plug-in is named 'x'; known: cascade, learned, rrf, weighted_sum"):
        fusion_class("x")


def test_two_of_one_name_are_both_named(plugins: Callable[..., None]) -> None:
    plugins(item_cf="faulty:Rows")
    with pytest.raises(PluginError) as fault:
        retriever_class("item_cf")
    assert "two retriever plug-ins are named 'item_cf': faulty:Rows of unknown project and multirecall" in str(
        fault.value
    )
    assert retriever_class("content").__name__ == "Content", "the others live"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:X", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'; fix or"),
        ("faulty:NoSuchClass", "cannot be imported: AttributeError: module 'faulty' has no attribute 'NoSuchClass'"),
        ("faulty:NotARetriever", "is not a complete subclass of multirecall.protocols.Retriever"),
        ("faulty:Unfinished", "is not a complete subclass of multirecall.protocols.Retriever"),
        ("faulty:GARBAGE", "is not a complete subclass of multirecall.protocols.Retriever"),
    ],
)
def test_broken_plugin_is_named_and_the_others_live(plugins: Callable[..., None], target: str, message: str) -> None:
    plugins(broken=target)
    with pytest.raises(PluginError) as fault:
        retriever_class("broken")
    assert f"retriever plug-in 'broken' ({target} of unknown project)" in str(fault.value)
    assert message in str(fault.value)
    states = {one.name: one.fault for one in listings()}
    assert message in (states.pop("broken") or "")
    assert set(states.values()) == {None}


def test_only_the_module_that_is_asked_for_is_imported() -> None:
    script = (
        "import sys; from multirecall.registry import RETRIEVERS; RETRIEVERS.names(); RETRIEVERS.load('content'); "
        "print(*(name for name in sys.modules if name.startswith('multirecall.retrievers.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    plugins = {name.split(".")[2] for name in done.stdout.split()}
    assert {name for name in plugins if not name.startswith("_")} == {"content"}
