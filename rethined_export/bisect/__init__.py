"""Where an artifact departs from its reference: the first operator whose result is another.

``pairing`` finds for each tensor of one run its like in another, by position and name or by value;
``origin`` walks from what departs back to where it begins; ``search`` does both; ``telling`` says
what there is to say; ``runs`` runs the artifact and its references; ``report`` is the whole.
"""
