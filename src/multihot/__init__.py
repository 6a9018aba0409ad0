"""Fine-tunes a pretrained single-label vision transformer to give one image many labels.

A training starts in train.py: the processes find each other (processes), settings are checked and the run folder is
entered (settings, run), data, loss, model and batches are made (training/build.py), and epochs are trained and measured
(training, evaluation). evaluate.py measures a run on any split.

Shapes are written in brackets everywhere, with these letters:

    B  images in a batch        H, W  pixels
    N  images in a split        T     tokens
    C  labels                   D     features
"""

__version__ = "0.1.0"
