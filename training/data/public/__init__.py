"""Published data sets, one reader each, and the wheels that carry some of them."""
