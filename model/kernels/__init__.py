"""The model compiled, as it is served."""
