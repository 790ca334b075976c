"""Answers as HTML: templates in which every value is escaped."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from im_admin.shown import when

PREFIX = "/admin"

_templates = Environment(
    loader=PackageLoader("api_gateway", "admin/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["when"] = when
_templates.globals["prefix"] = PREFIX


def page(name: str, status: int = HTTPStatus.OK, **values: Any) -> Response:
    """A template of the folder, filled. `who` is nobody unless it is given."""
    values = {"who": "", "here": "", "done": "", **values}
    return HTMLResponse(_templates.get_template(f"{name}.html").render(values), status)


def refusal(status: int, message: str) -> Response:
    return page("refusal", status, title=HTTPStatus(status).phrase, message=message)


def see(path: str) -> Response:
    """After a form: the browser fetches ``path`` of the page, and a reload sends nothing again."""
    return RedirectResponse(PREFIX + path, HTTPStatus.SEE_OTHER)
