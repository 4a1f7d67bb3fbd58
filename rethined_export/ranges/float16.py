"""The numbers of IEEE half precision."""

#: The largest finite one; what is larger becomes infinite.
LARGEST = 65504.0
#: The smallest with all its digits; many accelerators take what is smaller for zero.
SMALLEST_NORMAL = 2.0**-14
#: What is smaller rounds to zero everywhere.
ROUNDS_TO_ZERO = 2.0**-25
#: A tensor that comes within this factor of the largest on some photos may pass it on others.
MARGIN = 4.0
