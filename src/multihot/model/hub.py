"""What can go wrong with a model on the Hugging Face hub, and the ways out."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from multihot.errors import InputError, first_line
from multihot.network import answers


@contextmanager
def explain_hub_errors(name: str) -> Iterator[None]:
    """Turns what timm raises while it fetches `name` into an InputError with the ways out.

    Where the hub does not answer, only what is in its cache is looked for, as it would be tried for 45 seconds.
    """
    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was_offline or not answers(constants.ENDPOINT)
    try:
        yield
    except (OSError, HfHubHTTPError) as error:
        raise InputError(
            f"the pretrained weights of {name} could not be fetched from the Hugging Face hub:\n"
            f"  {first_line(error)}\n"
            "Without a network, give a local file or folder (model.weights=path) "
            "or start from random weights (model.pretrained=false model.weights=null)."
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"{name} cannot be loaded: {error}\nmodel.pretrained=false starts from random weights"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = was_offline
