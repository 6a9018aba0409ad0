"""How each tool writes the images of exports.py: `write(folder, cases)`, and what its format keeps, `KEEPS`."""
