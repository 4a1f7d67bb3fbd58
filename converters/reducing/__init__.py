"""From an fp32 artifact to one of less precision, one module per target."""
