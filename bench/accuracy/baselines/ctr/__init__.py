"""Reference models of click-through: how they see a history."""
