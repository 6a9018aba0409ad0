"""What the inputs and outputs of a model.onnx are called."""

IMAGE, PIXELS = "image", "pixels"  # normalised float32 (B, 3, H, W); uint8 (B, H, W, 3)
INPUTS = ("image", "pixels", "photo")  # what is given: an IMAGE, PIXELS of the model's size, or of any size
LOGITS, PROBABILITY, DECISION = OUTPUTS = ("logits", "probability", "decision")  # (B, C)
