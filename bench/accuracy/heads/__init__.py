"""What the parts of the head are worth."""
