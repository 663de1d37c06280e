"""The small face detector and recogniser."""
