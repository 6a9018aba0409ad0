"""What processes of tests find done before they are forked: imports, the stamps of the digits, a composed config."""

import hydra.main  # noqa: F401
import pytest
from compose_once import patch_hydra
from conftest import SMALL_DIGITS, compose_config

import multihot.cli
import multihot.evaluation.decided
import multihot.metrics.collection
import multihot.processes.session
import multihot.report.page
import multihot.training.build
import multihot.training.optimizer
import multihot.training.schedule
import multihot.training.validation  # noqa: F401
from multihot.data.readers import digits

for split in digits.SPLITS:
    digits.create_stamps(split)
with pytest.MonkeyPatch.context() as patch:
    patch_hydra(patch)
    compose_config("train", SMALL_DIGITS)
