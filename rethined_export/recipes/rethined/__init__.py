"""RETHINED: its options, programs, caller and judge."""
