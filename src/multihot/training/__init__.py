"""The training: built from the settings, epoch by epoch, with a validation after each that keeps the best model."""
