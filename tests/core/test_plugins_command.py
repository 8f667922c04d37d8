"""`multirecall plugins NAME` explains the settings of a plug-in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from multirecall.cli import app
from multirecall.errors import PluginError
from multirecall.plugins import PluginGroup
from multirecall.protocols import PluginConfig
from multirecall.registry import GROUPS
from multirecall.retrievers.popularity import Popularity
from multirecall.settings import settings_of

NAMES = [pytest.param(group, name, id=name) for group in GROUPS for name in group.names()]


def printed(name: str, width: int = 80) -> str:
    """What the command prints into a pipe."""
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(app, ["plugins", name])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_every_setting_in_full_at_80_columns(group: PluginGroup[Any], name: str) -> None:
    text = printed(name)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text, "no colours in a pipe"
    assert "…  " not in text, "nothing is cut"
    flowing = words(text)
    for row in settings_of(group.load(name).Config):
        default = {"": "", "required": "; required"}.get(row.default, f"; default {row.default}")
        ranged = f"{row.type}; {row.range}" if row.range else row.type
        assert words(f"{row.name} {ranged}{default} {row.meaning}") in flowing


def test_the_list_cuts_nothing_at_80_columns() -> None:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["plugins"])
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout
    assert "multirecall.retrievers.graph_filter:GraphFilter of" in re.sub(r"\s+ok\s+", "", done.stdout)


def test_a_setting_and_its_form_share_a_line() -> None:
    lines = [words(line) for line in printed("als").splitlines()]
    assert "half_life float or None; > 0; default 20.0" in lines


class Plain(Popularity):  # type: ignore[misc]
    """Does as it is told."""

    Config = PluginConfig


def test_a_plug_in_of_ones_own_and_one_without_settings(plugins: Callable[..., None]) -> None:
    plugins(plain=f"{__name__}:Plain", lost="no_such_module:X")
    assert words(printed("plain")) == "retriever plain: Does as it is told. It has no settings."
    with pytest.raises(PluginError, match=r"'lost' .* cannot be imported"):
        printed("lost")


def test_an_unknown_name_gets_the_nearest_of_all_kinds() -> None:
    with pytest.raises(PluginError, match="no plug-in is named 'weighted_sums'; did you mean 'weighted_sum'"):
        printed("weighted_sums")
    with pytest.raises(PluginError, match="no plug-in is named 'itemcf'; did you mean 'item_cf'"):
        printed("itemcf")
