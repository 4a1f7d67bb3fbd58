"""Trained weights, each with its card and the settings that made it."""
