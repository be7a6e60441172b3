"""Jinja templates of HTML pages, with autoescaping and hashes for a Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

import jinja2

__all__ = ["page_template"]


@cache
def page_template(package: str) -> jinja2.Template:
    """Load the template `page.html.jinja` of a subpackage."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blendin_local", package),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["hash"] = _hash
    return environment.get_template("page.html.jinja")


def _hash(source: str) -> str:
    """Return the Content-Security-Policy hash of an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
