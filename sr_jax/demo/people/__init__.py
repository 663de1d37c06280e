"""Rendered clips of people with exact depth, known identity and a caption, seeded and unlimited.

People are built of tapered capsules and cast with rays in JAX rather than taken from a body-model package: those have
no painted, recognisable face, and a mesh rasteriser would be slower and less exact than the closed form used here.
"""
