"""Fills the templates of pages that lie beside this file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **content: Any) -> str:
    """Returns a page; what is filled in is escaped, and a name that is not there is an error.

    Args:
      template: name of the file.
      content: what its names stand for.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**content)
