"""What a user may set, where it comes from, and whether it can be used."""
