"""Surveys: one pass over many images for the top activations of every channel, and its health."""
