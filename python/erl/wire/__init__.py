"""What goes over the port: messages and frames, and the descriptors that they come and go by."""
