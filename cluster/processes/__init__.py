"""What runs inside the actors, and how they call each other."""
