"""What values are made of, below the codec: their types, references, pickles, and the doors to user code."""
