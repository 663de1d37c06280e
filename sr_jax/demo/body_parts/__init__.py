"""The judge of body parts: a small network that tells them apart in frames of rendered people."""
