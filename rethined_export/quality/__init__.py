"""How well holes are filled: metrics, methods to compare, tables and plots."""
