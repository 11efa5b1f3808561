"""Reference models of the next item."""
