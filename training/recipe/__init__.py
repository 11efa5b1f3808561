"""What suits a log: how it looks, and what follows from that."""
