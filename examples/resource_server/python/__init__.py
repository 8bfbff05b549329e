"""The warehouse in Python."""
