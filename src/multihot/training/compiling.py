"""Whether the training steps of a model are compiled."""

import logging
import os
import shutil
import sysconfig
from importlib.util import find_spec

import torch
from accelerate import Accelerator

from multihot.run.checkpoint import PLAIN, name_layout

log = logging.getLogger(__name__)


def choose_compile(wanted: bool | str, accelerator: Accelerator) -> bool:
    """Returns whether training steps are compiled; `auto`: on CUDA, unless the model is spread over processes.

    Triton builds its launcher with a C compiler and Python's header, and knows chips from compute capability 7.0 on.
    """
    if wanted != "auto":
        return wanted
    if accelerator.device.type != "cuda" or name_layout(accelerator) != PLAIN:
        return False
    needs = {
        "a GPU of compute capability 7.0": torch.cuda.get_device_capability() >= (7, 0),
        "the package triton": find_spec("triton") is not None,
        "a C compiler": any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))),
        "Python.h": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    }
    missing = [need for need, is_there in needs.items() if not is_there]
    if missing:
        log.info("training steps are not compiled, which needs %s", ", ".join(missing))
    return not missing
