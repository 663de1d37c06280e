"""From an image and a prompt to a video."""
