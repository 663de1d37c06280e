"""Clips of real people that Python packages carry."""
