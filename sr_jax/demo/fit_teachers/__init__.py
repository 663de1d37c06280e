"""Fits the small codec and the small face teacher."""
