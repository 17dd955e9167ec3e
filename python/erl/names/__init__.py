"""What dotted names stand for, and how modules come to be what they are."""
