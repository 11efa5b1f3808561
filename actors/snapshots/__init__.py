"""State on durable storage: what a snapshot is, how it is written, kept and read back."""
