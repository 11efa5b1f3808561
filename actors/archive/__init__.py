"""Clicks as Parquet files: writing, reading, checking, erasing, replaying."""
