"""OpenMP's threads wait for each other only for a moment; scripts/time_threads.py measures what that is worth."""

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from multihot.processes.threads import spin_briefly

LIBRARIES = sorted(Path(find_spec("torch").origin).parent.glob("lib/libgomp*"))
SCRIPT = Path(__file__).resolve().parents[1] / "scripts/time_threads.py"
LOAD = "import ctypes, multihot.cli; multihot.cli.run_script(lambda: ctypes.CDLL({!r}))"

UPDATES = """
import torch
torch.set_num_threads(2)
torch.manual_seed(0)
weight = torch.randn(512, 512, requires_grad=True)
for _ in range(3):
    torch.softmax(torch.randn(64, 512) @ weight, 1).square().sum().backward()
print(weight.grad.view(torch.int32).sum().item())
"""


@pytest.mark.parametrize("variable", ["GOMP_SPINCOUNT=77", "OMP_WAIT_POLICY=active"])
def test_who_has_decided_is_left_alone(variable):
    told = dict([variable.split("=")])
    environment = dict(told)
    spin_briefly(environment)
    assert environment == told


@pytest.mark.skipif(not LIBRARIES, reason="this torch has no libgomp of its own")
@pytest.mark.parametrize(("told", "count"), [({}, "30000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_torchs_openmp_reads_what_scripts_set(told, count):
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    result = subprocess.run(
        [sys.executable, "-c", LOAD.format(str(LIBRARIES[0]))],
        env=plain | told | {"OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"GOMP_SPINCOUNT = '{count}'" in result.stderr


def test_a_row_of_the_table_is_medians_and_ratios_to_the_first_way():
    script = runpy.run_path(str(SCRIPT))
    rounds = [[script["Speed"](8.0, 120.0), script["Speed"](second, 400.0)] for second in (2.0, 4.0, 6.0)]
    assert script["describe"](rounds, 1) == "4.0 | 0.50 (0.25 to 0.75) | 400"


def test_updates_are_the_same_to_the_bit():
    results = {
        subprocess.run([sys.executable, "-c", UPDATES], env=os.environ | told, capture_output=True, check=True).stdout
        for told in ({"GOMP_SPINCOUNT": "300000"}, {"GOMP_SPINCOUNT": "30000"})
    }
    assert len(results) == 1
    assert results.pop()
