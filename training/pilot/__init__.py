"""The offline check of a roll-out and its page."""
