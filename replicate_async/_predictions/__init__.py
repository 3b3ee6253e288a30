"""Predictions and trainings: what costs money and takes time. It knows no socket."""
