"""Each source of images and labels becomes a Manifest; all but the embedded digits by way of one table."""
