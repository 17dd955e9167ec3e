"""What serves: the server and what it reads, runs, says and is bound to."""
