"""From the click log to the shards: reading, lanes of batches, letters, gaps."""
