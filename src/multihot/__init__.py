"""Fine-tunes a pretrained single-label vision transformer to give one image many labels.

Shapes are written in brackets everywhere, with these letters:

    B  images in a batch        H, W  pixels
    N  images in a split        T     tokens
    C  labels                   D     features
"""

__version__ = "0.1.0"
