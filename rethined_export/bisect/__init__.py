"""Where an artifact departs from its reference: the first operator whose result is another.

``tensors`` holds the values of a run; ``pairing`` finds for each tensor of one run its like in the
other, by position and name or by value; ``origin`` walks from what departs back to where it begins;
``search`` puts a run, its references and the answer together; ``report`` is the whole of it.
"""
