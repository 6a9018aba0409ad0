"""A file a source of images and labels; all but the embedded digits become a Manifest by way of a table."""
