"""Brokers that EchoRank starts itself, for trials, demos and tests."""
