"""What MLflow loads: the images of a table are answered by handler.py of the model's own folder."""

import importlib.util
from pathlib import Path


class ImageModel:
    """Answers for the images in the column `image` of a table, each the bytes of a file."""

    def __init__(self, handler):
        self.handler = handler

    def predict(self, model_input, params: dict | None = None) -> list[dict]:
        """Returns a record an image: labels that hold, and the scores of all labels, or of the likeliest `top_k`."""
        top_k = (params or {}).get("top_k") or None
        return self.handler({"inputs": list(model_input["image"]), "parameters": {"top_k": top_k}})


def _load_pyfunc(path: str) -> ImageModel:
    """Returns the model of a folder; MLflow calls it by this name."""
    spec = importlib.util.spec_from_file_location("handler_of_model", Path(path) / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return ImageModel(module.EndpointHandler(path))
