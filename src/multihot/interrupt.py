"""Being stopped from outside: a signal is noted, the update finished, everything saved, and the exit code says so."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

REQUEUE = 75  # exit code: stopped from outside and saved, start the same command again (EX_TEMPFAIL of sysexits.h)
CTRL_C = 128 + signal.SIGINT
NOTED = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT")  # submitit sends SIGUSR2


class Interrupted(SystemExit):
    """Ends the process after everything is saved; as a SystemExit it also ends a sweep, where an error ends one job."""


class StopSignal:
    """Which signal has asked this process to stop; None: none."""

    def __init__(self):
        self.number: int | None = None

    def note(self, number: int, _frame: object) -> None:
        """Remembers the signal; a second Ctrl-C ends the process at once."""
        self.number = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        log.warning("%s: stopping as soon as this step is done, and saving everything", signal.Signals(number).name)

    def raise_interrupted(self) -> None:
        """Ends the process with the code for its signal; without one, another process has had it."""
        raise Interrupted(CTRL_C if self.number == signal.SIGINT else REQUEUE)


@contextmanager
def noting_signals() -> Iterator[StopSignal]:
    """Gives what SIGTERM, SIGUSR1 and Ctrl-C are noted in, as long as it is open."""
    stop = StopSignal()
    numbers = [getattr(signal, name) for name in NOTED]
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield stop
        return
    before = {number: signal.signal(number, stop.note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(_worker: int) -> None:
    """Has a process that decodes images end when the one that trains ends it, and not with a signal that goes to all.

    SLURM and Ctrl-C reach every process of a job, but the update that is to be finished needs the next batches.
    """
    if not hasattr(signal, "sigwaitinfo"):  # Linux has it
        return
    numbers, parent = [getattr(signal, name) for name in NOTED], os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def end_with_parent() -> None:
        while signal.sigwaitinfo(numbers).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
