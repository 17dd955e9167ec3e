"""What goes over the port: messages and frames, and the descriptors that they come and go by."""

CLOSED = -1
NOTHING = -2
BUSY = -3
"""What a `read` of frames gives without bytes: the port is closed, nothing came in time, another thread reads."""
