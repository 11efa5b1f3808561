"""Simulated parts of the world: log, disk, network, time."""
