"""Hydra reads a file of conf/ once for all tests of a process, and puts a choice of options together once."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import Overrides

read = ConfigRepository.load_config
choose = defaults_list._create_defaults_list
merge = ConfigLoaderImpl._compose_config_from_defaults_list
made: dict[str, Any] = {}


def once(repo: IConfigRepository, what: tuple, make: Callable[[], Any]) -> Any:
    """Returns a copy of what is made of the files of a repository, which is made once."""
    key = repr((repo.get_sources(), what))
    if key not in made:
        made[key] = make()
    return copy.deepcopy(made[key])


def read_once(repo: IConfigRepository, config_path: str):
    return once(repo, ("read", config_path), lambda: read(repo, config_path))


def merge_once(loader: ConfigLoaderImpl, defaults: list, repo: IConfigRepository):
    return once(repo, ("merge", defaults), lambda: merge(loader, defaults, repo))


def choose_once(repo: IConfigRepository, config_name: str, overrides: Overrides, **settings):
    """Returns the files that are chosen, and notes in the overrides which of them were used for it."""
    notes = {name: value for name, value in vars(overrides).items() if name != "config_overrides"}

    def make():
        chosen = choose(repo, config_name, overrides, **settings)
        return chosen, {name: vars(overrides)[name] for name in notes}

    chosen, after = once(repo, ("choose", config_name, notes, settings), make)
    vars(overrides).update(after)
    return chosen


def patch_hydra(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConfigRepository, "load_config", read_once)
    patch.setattr(defaults_list, "_create_defaults_list", choose_once)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
