"""Scores for users: the gateway, the scoring of a shard, arms, exposures."""
