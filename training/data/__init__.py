"""Data sets to click logs to sequences."""
