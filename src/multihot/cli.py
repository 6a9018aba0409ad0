"""How every script is called: a mistake of the user ends in a few lines that help, a bug in a traceback."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from multihot.errors import InputError, is_lost
from multihot.interrupt import CTRL_C
from multihot.lean_imports import leave_out_wandb
from multihot.processes.threads import spin_briefly
from multihot.settings.hydra_errors import NO_OPTION, explain_hydra
from multihot.settings.typed_overrides import check_typed


def run_script(main: Callable) -> None:
    """Calls a `hydra.main` function; with HYDRA_FULL_ERROR=1 every error keeps its traceback."""
    print_any_name()
    spin_briefly(os.environ)
    leave_out_wandb()
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach this function instead of hydra's own printer
    try:
        check_typed(sys.argv[1:])
        main()
    except (ValueError, HydraException, OmegaConfBaseException, RuntimeError) as error:
        message = explain(error)
        if message is None:
            raise
        fail(message)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C", code=CTRL_C)


def print_any_name() -> None:
    """Has names of files that are not UTF-8 printed as \\udcXX: in most locales they are an error."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def explain(error: Exception) -> str | None:
    """Returns what to tell a user whose mistake an error is, or that of another process; None if it is a bug."""
    if isinstance(error, InputError):
        return str(error)
    if is_lost(error):
        return (
            "the connection to another process is lost: why is said above or in its log. If it says nothing, it was "
            "killed, most often because the memory was full, or the network failed"
        )
    if not isinstance(error, HydraException | OmegaConfBaseException) and not str(error).startswith(NO_OPTION):
        return None
    return str(error.__cause__) if isinstance(error.__cause__, InputError) else explain_hydra(error)


def fail(message: str, code: int = 1) -> None:
    """Ends the process with the message on stderr and an exit code."""
    rank = os.environ.get("RANK")
    print(f"Error{f' (process {rank})' if rank not in (None, '0') else ''}: {message}", file=sys.stderr)
    sys.exit(code)
