"""How the path of an image is made of the cells of several columns."""

import re
from string import Formatter

from multihot.errors import InputError

SPEC = re.compile(r"(?:\.(\d+))?")  # of a field: {id:.2}, the first two characters


def parse_template(template: str) -> list[tuple[str, str | None, int | None]]:
    """Returns the parts of data.image_template: the text before a field, the field's column, how much of its cell.

    >>> parse_template("files/p{patient:.2}/{id}.jpg")
    [('files/p', 'patient', 2), ('/', 'id', None), ('.jpg', None, None)]
    """
    wrong = InputError(
        f"data.image_template={template}: write names of columns in braces, as in {{folder}}/{{id}}.jpg, or {{id:.2}} "
        "for the first two characters"
    )
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise wrong from error
    parsed = []
    for literal, name, spec, conversion in parts:
        length = SPEC.fullmatch(spec or "")
        if name == "" or conversion is not None or length is None:
            raise wrong
        parsed.append((literal, name, int(length[1]) if length[1] else None))
    if not any(name for _, name, _ in parsed):
        raise wrong
    return parsed


def fields_of(template: str | None) -> list[str]:
    """Returns the columns that data.image_template names."""
    return [name for _, name, _ in parse_template(template) if name] if template else []
