"""Rebuilding state from the archive or the log."""
