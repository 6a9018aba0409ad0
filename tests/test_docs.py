"""README.md and docs/: every link leads somewhere, every setting exists, the script of evaluation.md runs."""

import re
import sys

import pytest
from conftest import REPO
from omegaconf import OmegaConf
from PIL import Image

PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
NO_SETTINGS = {
    "model.safetensors",
    "model.safetensors.index.json",
    "model.onnx",
    "model.onnx.data",
    "decisions.json",
    "data.val",
}  # files, a column of compare_runs.py


def anchors(page):
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    missing = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def names_below(settings, prefix):
    """Yields the name of every setting of a mapping, and of those in it, with dots."""
    for key, value in settings.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from names_below(value, f"{prefix}{key}.")


def all_settings():
    """Returns the names of the settings in conf/, as they are typed."""
    names = set()
    for file in (REPO / "conf").rglob("*.yaml"):
        group = file.relative_to(REPO / "conf").parts[0]
        is_global = file.parent.name == "conf" or "@package _global_" in file.read_text()
        names.update(names_below(OmegaConf.to_container(OmegaConf.load(file)), "" if is_global else f"{group}."))
    return names


def test_no_page_names_a_setting_that_is_not_there():
    names = all_settings()
    groups = "|".join(sorted({name.partition(".")[0] for name in names if "." in name} - {"hydra"}))
    named = re.compile(rf"(?<![\w./+-])(?:{groups})\.[a-z_.]*[a-z](?=[=`])")
    unknown = {
        (file.name, setting)
        for file in [*PAGES, *(REPO / "conf").rglob("*.yaml")]
        for setting in named.findall(file.read_text())
        if setting not in names and not setting.startswith("model.kwargs.") and setting not in NO_SETTINGS
    }
    assert unknown == set()


def test_the_script_of_the_page_draws_predictions(train, tmp_path, monkeypatch):
    train("name=a")
    [script] = re.findall(r"```python\n(.*?)```", (REPO / "docs/evaluation.md").read_text(), re.DOTALL)
    monkeypatch.setattr(sys, "argv", ["panel.py", str(tmp_path / "a/val"), str(tmp_path / "panel.png")])
    exec(script, {})
    with Image.open(tmp_path / "panel.png") as panel:
        assert panel.size == (900, 480)
