"""What programs derive their own classes from."""
