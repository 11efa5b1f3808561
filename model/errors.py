"""The root of all errors of EchoRank, and the model's own."""

from __future__ import annotations


class EchoRankError(Exception):
    """The root of every error that EchoRank raises about the world."""

    retriable = False


class BundleError(EchoRankError):
    """A model bundle is missing, damaged, of another format, or does not reproduce its golden examples."""
