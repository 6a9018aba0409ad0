"""Starts the scripts: a user's mistake ends in a few lines that help, a bug in a traceback."""

import difflib
import os
import sys
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from multihot.errors import InputError, is_lost
from multihot.interrupt import CTRL_C


def job_of_hydra() -> tuple[list[str], int | None]:
    """Returns the overrides of the running hydra job, and its number in a sweep or None."""
    cfg = HydraConfig.get()
    return list(cfg.overrides.task), cfg.job.num if cfg.mode == RunMode.MULTIRUN else None


def run_script(main: Callable) -> None:
    """Calls a `hydra.main` function; with HYDRA_FULL_ERROR=1 every error keeps its traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach this function instead of hydra's own printer
    try:
        main()
    except (InputError, HydraException, OmegaConfBaseException, RuntimeError) as error:
        message = explain(error)
        if message is None:
            raise
        fail(message)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C", code=CTRL_C)


def explain(error: Exception) -> str | None:
    """Returns what to tell a user whose mistake an error is, or that of another process; None if it is a bug."""
    if isinstance(error, InputError):
        return str(error)
    if is_lost(error):
        return (
            "the connection to another process is lost: why is said above or in its log. If it says nothing, it was "
            "killed, most often because the memory was full, or the network failed"
        )
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    cause = error.__cause__ or error
    if isinstance(cause, InputError):
        return str(cause)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} has no value; set it: {cause.full_key}=..."
    return f"{error}{describe_choices(cause)}"


def fail(message: str, code: int = 1) -> None:
    """Ends the process with the message on stderr and an exit code."""
    rank = os.environ.get("RANK")
    print(f"Error{f' (process {rank})' if rank not in (None, '0') else ''}: {message}", file=sys.stderr)
    sys.exit(code)


def describe_choices(error: BaseException) -> str:
    """Returns the settings that stand where a mistyped one was looked for, the most similar first."""
    parent, key = getattr(error, "parent_node", None), getattr(error, "key", None)
    if not isinstance(parent, DictConfig) or key is None:
        return ""
    names = [str(name) for name in parent]
    near = difflib.get_close_matches(str(key), names, n=1)
    where = f" of {parent._get_full_key(None)}" if parent._get_full_key(None) else ""
    return f"\nThe settings{where} are: {', '.join(names)}" + (f"\nDid you mean {near[0]}?" if near else "")
