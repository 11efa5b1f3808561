"""Kafka clients: the log, its topics, groups and identities, and what may go wrong."""
