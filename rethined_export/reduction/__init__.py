"""From a verified program's fp32 artifact to one of less precision."""
