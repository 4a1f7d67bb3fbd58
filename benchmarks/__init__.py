"""The latency harness and the export cost benchmark."""
