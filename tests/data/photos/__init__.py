"""Small real photographs for parity, the demo and the tests; see LICENSES.md."""
