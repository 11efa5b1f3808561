"""Starting the whole system, watching it, stopping it."""
