"""Studies of what the bytes of a state hold: formats, drift, and the ranks that they give."""
