"""Pages from templates: text is escaped, and what a page needs stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multirecall.errors import RequestError
from multirecall.extras import import_extra

HOME = "multirecall.evaluation"
"""The package whose templates every page may include, such as the style and the tables."""


def render(template: str, package: str = HOME, **values: Any) -> str:
    """The text of a page.

    Args:
        template: the name of the template.
        package: the package that has it in a folder `templates`.
        values: what the template names; one that it lacks is an error.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    jinja2 = import_extra("jinja2", "a page")
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(one) for one in dict.fromkeys((package, HOME))]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text: str = environment.get_template(template).render(**values)
    return text


def save_page(text: str, file: Path) -> None:
    """Write a page; raises `RequestError` if the file cannot be written."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise RequestError(f"{file}: cannot be written ({fault.strerror}); check the folder") from None
