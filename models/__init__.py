"""PyTorch reference models, plain and readable. They know nothing of export."""
