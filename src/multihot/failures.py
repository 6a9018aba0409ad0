"""What a machine can run out of, told in the words of the settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from multihot.errors import InputError


@contextmanager
def explaining_failures(place: Callable[[], str], advice: str) -> Iterator[None]:
    """Turns what a machine can run out of into an error that says which setting to lower.

    Args:
        place: says where it happens.
        advice: what to do where the memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise InputError(f"the memory is full {place()}. {advice}") from error
        if "DataLoader worker" in str(error):
            raise InputError(
                f"a process that decodes images was killed {place()}, most often because the memory was full. Lower "
                "num_workers and start the same command again."
            ) from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that no memory was left, on a GPU or in the machine."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
