"""Export-friendly forms of single operators, each provably equal to its plain torch twin.

One module per operator. Every form keeps to tensors of rank 4 or less, small constants and
operators that all three targets run; ``graph`` puts them together into the exported program.
"""
