"""How a gRPC call is admitted, timed, counted and answered, whatever it asks."""
