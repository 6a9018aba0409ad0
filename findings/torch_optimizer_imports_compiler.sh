#!/usr/bin/env bash
# The first optimizer of torch 2.14.1 imports the compiler, also where nothing is compiled.
#
# What it does: `torch.optim.Optimizer.add_param_group` is wrapped by `torch._disable_dynamo`, which imports torch._dynamo at its
#   first call, and each step of torch's own optimizers does so once more; with it come sympy, mpmath and
#   torch.distributed.fsdp. torchvision 0.29.1 imports it too, for one function of torchvision.ops.roi_align.
# One would expect: `torch.compile` is imported by who calls it. torch itself defers it: `import torch` brings no torch._dynamo.
# Seen (Python 3.11, one core): `import torch` loads 1,190 modules; `torch.optim.SGD([parameter])` and `AdamW([parameter])` load 893
#   more and take 1.04 and 0.82 times the processor time of that import, `import torchvision` 1,079 more and 0.89 times. A
#   step of gradient descent by hand loads none.
# For users: it is paid by each process of each start, in a place where a profile of imports shows nothing: `python -X importtime
#   -c "import torch"` misses half. Timings of a first update hold it, so warm up before timing one; a process that only
#   predicts is spared it if it makes no optimizer and imports neither torchvision nor timm, which needs torchvision.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

BEGIN = """
import sys, time
start = time.process_time()
import torch
parameter = torch.nn.Parameter(torch.zeros(3))
parameter.grad = torch.ones(3)
before, imported = set(sys.modules), time.process_time()
"""
END = """
new = set(sys.modules) - before
heavy = [name for name in ("torch._dynamo", "sympy", "torch.distributed.fsdp") if name in new]
print(len(before), len(new), f"{(time.process_time() - imported) / (imported - start):.2f}", *heavy)
"""
STEPS = {
    "by hand": "with torch.no_grad(): parameter -= 0.1 * parameter.grad",
    "torch.optim.SGD([parameter])": "torch.optim.SGD([parameter])",
    "torch.optim.AdamW([parameter])": "torch.optim.AdamW([parameter])",
    "import torchvision": "import torchvision",
}


def run(step: str) -> list[str]:
    code = BEGIN + step + END
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


run("")  # bytecode is written once
for title, step in STEPS.items():
    before, new, ratio, *heavy = run(step)
    print(f"{title}: {before} modules before, {new} more, {ratio} of the time of `import torch`: {', '.join(heavy) or 'no compiler'}")
    if bool(heavy) == (title == "by hand"):
        raise SystemExit(f"changed: {title}")
PYTHON
