"""Generates the blocking client and the response views from the asynchronous sources."""
