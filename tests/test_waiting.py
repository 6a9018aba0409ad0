"""Between two looks at the device nothing asks it for a value, and processes exchange nothing but gradients.

That nothing is copied from the device is seen on the device "meta", in test_training.py.
"""

import os
from collections import Counter
from itertools import pairwise

import pytest
import torch
from test_processes import SERVER, free_port, start_server
from test_training import batches_of, create_trainer, train_epoch, with_fused_adamw
from torch.utils._python_dispatch import TorchDispatchMode

from multihot.data.readers.digits import create_digits
from multihot.loss import closed_form
from multihot.run import checkpoint

NUM_UPDATES, LOG_EVERY = 25, 10
ASKING = ("tolist", "numpy", "cpu")  # methods that a GPU would be waited for, and that are no operation on a CPU


class Held(list):
    """Batches that are loaded, on the device."""

    def __init__(self, batches):
        super().__init__(batches)
        self.begin, self.sizes = batches.begin, batches.sizes


class Counting(TorchDispatchMode):
    """Counts the values that are asked for and the collectives, since the beginning."""

    def __init__(self, patch):
        super().__init__()
        self.counts = Counter()
        for name in ASKING:
            patch.setattr(torch.Tensor, name, self.counting(getattr(torch.Tensor, name)))

    def counting(self, method):
        def call(*arguments, **settings):
            self.counts["values"] += 1
            return method(*arguments, **settings)

        return call

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts["values"] += func.name() in ("aten::_local_scalar_dense", "aten::nonzero")
        self.counts["collectives"] += func.name().startswith("c10d::")
        return func(*args, **(kwargs or {}))


def train_and_count(rank, port, told):
    """Trains as one of two processes, and tells the counts after each update."""
    together = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ.update(together, MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="1")
    settings = {"max_digits": 3, "num_clutter": 2, "single_label": False, "hidden_fraction": 0.1, "seed": 0}
    manifest = create_digits("train", num_images={"train": NUM_UPDATES}, **settings)
    trainer = with_fused_adamw(create_trainer(ema_decay=0.9, clip_norm=1.0, log_every=LOG_EVERY))
    batches, after_update, counts = Held(batches_of(manifest, 1)), checkpoint.Checkpoints.after_update, []
    with pytest.MonkeyPatch.context() as patch, Counting(patch) as counter:

        def counted(*arguments):
            after_update(*arguments)
            counts.append(counter.counts.copy())

        patch.setattr(checkpoint.Checkpoints, "after_update", counted)
        patch.setattr(checkpoint, "AGREE_SECONDS", 1e9)
        patch.setattr(closed_form, "has_queue", lambda device: True)  # the way of a GPU, not what a CPU makes faster
        train_epoch(trainer, batches)
    told.send(counts)


def test_values_are_asked_for_at_looks_alone_and_processes_agree_every_20_updates():
    start_server()
    port, (ours, theirs) = free_port(), SERVER.Pipe(duplex=False)
    processes = [SERVER.Process(target=train_and_count, args=(rank, port, theirs)) for rank in range(2)]
    for process in processes:
        process.start()
    for counts in (ours.recv(), ours.recv()):
        added = {update: after - before for update, (before, after) in enumerate(pairwise(counts), start=2)}
        assert [update for update, more in added.items() if more["values"]] == [10, 20, 21]  # logs, and an agreement
        del added[2]  # in which DDP tells its order of gradients
        exchanged = {update: more["collectives"] for update, more in added.items()}
        assert exchanged == dict.fromkeys(range(3, NUM_UPDATES + 1), 1) | {21: 2}
    for process in processes:
        process.join()
        assert process.exitcode == 0
