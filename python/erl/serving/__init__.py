"""What speaks HTTP: each program of it is a Python of its own, started by the node."""
