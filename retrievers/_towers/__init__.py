"""Retrievers whose user vector a trained network computes."""
