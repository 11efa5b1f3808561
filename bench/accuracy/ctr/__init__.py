"""The click-through study: data, methods, training, rows."""
