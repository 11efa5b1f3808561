"""Who holds which partition: placement, leases, hand-over, the routing table."""
