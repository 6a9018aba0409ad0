"""The settings of a source without composing all of conf/, which takes most of the time of a small test."""

from functools import cache
from pathlib import Path

from conftest import REPO
from omegaconf import OmegaConf


@cache
def settings_of(name: str) -> dict:
    """Returns the settings of conf/data/<name>.yaml; one that must be given is None."""
    file = REPO / f"conf/data/{name}.yaml"
    settings = OmegaConf.to_container(OmegaConf.load(file))
    places = [file.parent / default.removesuffix("@_here_") for default in settings.pop("defaults", ())]
    before = [settings_of(str(Path(place).relative_to(REPO / "conf/data"))) for place in places]
    merged = {key: value for part in (*before, settings) for key, value in part.items()}
    return {key: None if value == "???" else value for key, value in merged.items()}
