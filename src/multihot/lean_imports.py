"""Keeps timm from importing W&B: an eighth of what a start computes, for a logger of timm's own train.py alone."""

import sys
from importlib.abc import MetaPathFinder

USER = "timm.utils.summary"  # goes on without (timm 1.0.31)


class WithoutWandb(MetaPathFinder):
    """Says that there is no wandb while timm's module is imported; whoever else imports it gets it."""

    def find_spec(self, name: str, path=None, target=None) -> None:
        """Raises ModuleNotFoundError for timm; otherwise returns None: others look for the module."""
        user = sys.modules.get(USER)
        if name == "wandb" and user is not None and not hasattr(user, "update_summary"):
            raise ModuleNotFoundError("wandb is not imported for timm", name=name)


def leave_out_wandb() -> None:
    """Has timm imported without W&B from now on, if it is not imported yet."""
    if not any(isinstance(finder, WithoutWandb) for finder in sys.meta_path):
        sys.meta_path.insert(0, WithoutWandb())
