"""One shard: the partitions it holds, in which role, and what it does with them."""
