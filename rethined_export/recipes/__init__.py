"""What the pipeline needs to know of each model."""
