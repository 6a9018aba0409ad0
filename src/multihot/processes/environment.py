"""What a launcher tells the processes in variables, before anything reads them."""

from collections.abc import Mapping

from multihot.errors import InputError
from multihot.settings.kinds import whole

VARIABLES = {
    "RANK": whole(0),
    "WORLD_SIZE": whole(1),
    "LOCAL_RANK": whole(-1),  # -1: Accelerate's word for none
    "LOCAL_WORLD_SIZE": whole(1),
    "MASTER_PORT": whole(1, 65_535),
    "SLURM_STEP_NUM_TASKS": whole(1),
    "SLURM_PROCID": whole(0),
    "SLURM_LOCALID": whole(0),
    "SLURM_NODEID": whole(0),
    "OMP_NUM_THREADS": whole(1),
}
FLAGS = ("ACCELERATE_USE_CPU", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
FLAG_WORDS = ("y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0")
OF_GROUP = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # a process that has a place in a group needs them


def check_environment(environment: Mapping[str, str]) -> None:
    """Raises InputError with all variables that are no numbers, are out of range, or do not go together.

    >>> check_environment({"RANK": "1", "WORLD_SIZE": "2"})
    """
    numbers = {name: read_number(environment[name]) for name in VARIABLES if environment.get(name)}
    faults = [VARIABLES[name].find_fault(name, value) for name, value in numbers.items()]
    faults += [
        f"{name}={environment[name]}: expected 1 or 0"
        for name in FLAGS
        if environment.get(name) and environment[name].lower() not in FLAG_WORDS
    ]
    faults = [fault.partition("; write ")[0] for fault in faults if fault]
    if not faults and numbers.get("RANK", 0) >= numbers.get("WORLD_SIZE", numbers.get("RANK", 0) + 1):
        faults = [f"RANK={numbers['RANK']}: expected below WORLD_SIZE={numbers['WORLD_SIZE']}"]
    if faults:
        way_out = "A launcher sets these variables (torchrun, accelerate launch, srun); unset what is left of another"
        raise InputError("\n".join([*faults, way_out]))


def check_group(environment: Mapping[str, str]) -> None:
    """Raises InputError if a process has a place among others, but no way to find them."""
    missing = [name for name in OF_GROUP if not environment.get(name)]
    if int(environment.get("LOCAL_RANK") or -1) >= 0 and missing:
        raise InputError(
            f"the variable LOCAL_RANK={environment['LOCAL_RANK']} is set, but not {', '.join(missing)}: start with "
            "torchrun or accelerate launch, or unset it"
        )


def read_number(text: str) -> int | str:
    """Returns the whole number that a text is, else the text.

    >>> read_number("2"), read_number("two")
    (2, 'two')
    """
    try:
        return int(text)
    except ValueError:
        return text
