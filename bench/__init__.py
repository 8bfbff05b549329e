"""What things cost. `make bench` runs it."""
