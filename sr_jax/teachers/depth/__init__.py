"""Depth teachers."""
