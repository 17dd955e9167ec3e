"""What Erlang calls by name, beside user code."""
