"""Simple methods that a model must beat: learned by counting, one file each."""
