"""Whether an artifact's numbers fit into float16, whose largest is 65504.

``float16`` holds its limits; ``measuring`` tells how large tensors get over photos; ``inside`` what
operators sum up within themselves; ``bounds`` how large tensors can get at all; ``findings`` names
what does not fit, and what helps; ``report`` is the whole.
"""
