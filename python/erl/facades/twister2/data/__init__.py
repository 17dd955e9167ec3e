"""What a set holds, for who asks."""
