"""How long the threads of one process wait for each other at full speed before they let others have the core."""

from collections.abc import MutableMapping

SPIN_COUNT = 30_000  # half a millisecond or so; libgomp's own 300,000 are several, as long as the scheduler's slice
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # whoever sets one has decided


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """Has threads of GNU's OpenMP wait for a moment only; libgomp reads that once, when torch loads it.

    Beside a busy process a thread that waits for a late one uses up the share of the core that the late one needs.

    >>> environment = {}
    >>> spin_briefly(environment)
    >>> environment
    {'GOMP_SPINCOUNT': '30000'}
    """
    if not any(environment.get(name) for name in VARIABLES):
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
