"""Replicate's HTTP: requests, responses, retries and limits. It knows no prediction."""
