"""The settings of the explorer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multirecall.validation import StrictModel

Host = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$")]


class ExplorerSettings(StrictModel):
    """What the page `/explore` shows."""

    enabled: bool = True
    """Whether the page is there."""

    title: str | None = None
    """The item feature that names an item; default: `title` or `name`, where the item table has one."""

    image: str | None = None
    """The item feature that holds the address of an item's picture."""

    image_hosts: tuple[Host, ...] = ()
    """Hosts that pictures are shown from, such as `img.example.com` or `cdn.example.com:8443`; no other address is."""
