"""The version of the code that a run is made with."""

import subprocess
from functools import partial
from pathlib import Path

import multihot

GIT_SECONDS = 10.0


def code_version() -> dict[str, str | bool]:
    """Returns the package's version; of a checkout, also the commit, and whether files were changed since."""
    version, package = {"version": multihot.__version__}, Path(__file__).parent
    git = partial(subprocess.run, cwd=package, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    try:
        git(["git", "ls-files", "--error-unmatch", __file__])  # another repository may be around an installed package
        lines = git(["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return version
    heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    return version | {"commit": heads[0], "dirty": any(not line.startswith("#") for line in lines)}
