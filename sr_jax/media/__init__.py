"""Decoding, cutting and writing videos."""
