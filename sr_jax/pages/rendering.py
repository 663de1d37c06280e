"""Pages from templates, in which every text is escaped."""

from typing import Any

import jinja2

import sr_jax

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("sr_jax.pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> str:
    """An HTML document that loads nothing from anywhere.

    Args:
        template: A file of `pages/templates`.
        **values: What it shows. All text is escaped, except what is `markupsafe.Markup` already.
    """
    return _ENVIRONMENT.get_template(template).render(version=sr_jax.__version__, **values)
