"""Training from scratch, on a folder of images or on procedural ones."""
