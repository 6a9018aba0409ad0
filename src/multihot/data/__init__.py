"""Every source becomes one Manifest; a Manifest becomes batches."""

from collections.abc import Callable, Mapping

from hydra.utils import instantiate

NOT_OF_THE_READER = ("feature_cache",)


def create_reader(settings: Mapping) -> Callable:
    """Returns the reader of a data source, (split, labels=None) -> Manifest, from the settings of a data group."""
    return instantiate({key: value for key, value in settings.items() if key not in NOT_OF_THE_READER})
