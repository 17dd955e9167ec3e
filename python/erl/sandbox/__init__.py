"""Programs of sandboxes, run by their paths: they import nothing of this package."""
