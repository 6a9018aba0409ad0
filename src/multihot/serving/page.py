"""The page and the description of the API; they load nothing from elsewhere."""

from collections.abc import Mapping

import jinja2

PAGE_TYPES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


def create_page(name: str, about: Mapping[str, object]) -> str:
    """Returns a file of the page.

    Args:
        name: of PAGE_TYPES.
        about: what /health says of the run.
    """
    return environment().get_template(name).render(about=about)


def create_docs(schema: Mapping, address: str) -> str:
    """Returns a page about what can be asked, from its OpenAPI schema.

    Args:
        address: of the server, with a slash at its end.
    """
    return environment().get_template("docs.html").render(schema=schema, address=address)


def environment() -> jinja2.Environment:
    """Returns what renders the templates; those of the report lend their look."""
    packages = [jinja2.PackageLoader("multihot.serving"), jinja2.PackageLoader("multihot.report")]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(packages),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
