"""A published model: its files, its golden examples, the object that folds and scores."""
