"""Bytes of a topic to columns of clicks: formats, validation, keys, dead letters."""
