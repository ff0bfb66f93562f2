"""Files of other systems, read by small readers of our own that run nothing of what a file says."""
