"""Where scores are shown while a run trains: W&B, TensorBoard or nowhere. A failing tracker never ends a training."""
