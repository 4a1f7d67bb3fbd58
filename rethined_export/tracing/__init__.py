"""Every tensor of a run: of a saved artifact in its runtime, or of a torch program.

Each reader runs operator by operator, without the optimisations a runtime would make, since those
leave tensors out. Tensors go by the names that :mod:`rethined_export.lint` gives them.
"""
