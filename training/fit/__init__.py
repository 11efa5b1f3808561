"""Fitting a network: loss, schedule, loop, checkpoints."""
