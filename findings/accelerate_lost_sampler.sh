#!/usr/bin/env bash
# accelerate 1.15.0 loses the order and the sampler of a DataLoader with batch_size=None, in one process too.
#
# What it does: `prepare` makes a new DataLoader of dataset and batch sampler. A loader whose data set makes the batches itself
#   (batch_size=None, as PyTorch documents it) has no batch sampler, and its sampler is not handed on: the new one goes
#   through the whole data set in its order. Nothing is raised or logged.
# One would expect: the same rows as before in one process, as with any other batch size.
# Seen: of 12 rows shuffle=True gives 0 to 11 in each epoch. A SubsetRandomSampler of rows 0, 1 and 2, and a
#   WeightedRandomSampler that never draws rows 6 to 11, give 0 to 11 too; with batch_size=4 all three are right.
# For users: training is not shuffled, weights of classes do nothing, and a split made by SubsetRandomSampler trains on the
#   validation rows. Give `prepare` a loader with batches, or cut with `Subset` and look at what the first epoch draws.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 accelerate==1.15.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, WeightedRandomSampler


class Rows(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.tensor(row)


def create_loader(name: str, batch_size: int | None) -> DataLoader:
    random = torch.Generator().manual_seed(0)
    samplers = {
        "shuffle=True": {"shuffle": True},
        "a subset, 0 to 2": {"sampler": SubsetRandomSampler([0, 1, 2], random)},
        "weights, never 6 to 11": {"sampler": WeightedRandomSampler([1.0] * 6 + [0.0] * 6, 6, generator=random)},
    }
    return DataLoader(Rows(), batch_size=batch_size, generator=random, **samplers[name])


def draw(loader: DataLoader) -> list[int]:
    return [row for rows in loader for row in rows.reshape(-1).tolist()]


accelerator = Accelerator(cpu=True)
for name in ("shuffle=True", "a subset, 0 to 2", "weights, never 6 to 11"):
    for batch_size in (4, None):
        plain = draw(create_loader(name, batch_size))
        prepared = draw(accelerator.prepare(create_loader(name, batch_size)))
        print(f"{name}, batch_size={batch_size}: {plain}; prepared: {prepared}")
        if (plain == list(range(12))) or (batch_size is not None and prepared != plain):
            raise SystemExit("changed: rows of a loader that is not prepared, or has batches")
        if batch_size is None and prepared != list(range(12)):
            raise SystemExit("changed: the sampler is kept")
PYTHON
