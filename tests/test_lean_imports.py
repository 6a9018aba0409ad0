"""timm is imported without W&B, and nothing else is."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from multihot.lean_imports import USER, leave_out_wandb


@pytest.fixture
def lean(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    leave_out_wandb()


def test_wandb_is_left_out_only_while_timm_imports_what_logs_to_it(lean, monkeypatch):
    monkeypatch.setitem(sys.modules, USER, ModuleType(USER))
    with pytest.raises(ImportError, match="for timm"):
        find_spec("wandb")
    assert find_spec("tqdm")
    monkeypatch.setattr(sys.modules[USER], "update_summary", print, raising=False)
    assert find_spec("wandb")


def test_asking_twice_adds_nothing(lean):
    before = list(sys.meta_path)
    leave_out_wandb()
    assert sys.meta_path == before


def test_timm_has_the_names_that_this_goes_by():
    import timm.utils.summary

    assert timm.utils.summary.__name__ == USER
    assert timm.utils.summary.update_summary
