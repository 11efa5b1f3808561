"""The model in PyTorch, as it is trained."""
