"""Its submodule is imported when it is asked for."""
