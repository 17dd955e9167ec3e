"""Sets, and the links between them."""
