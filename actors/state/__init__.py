"""The users of a shard in memory and on disk: rows, tiers, index, erased keys."""
