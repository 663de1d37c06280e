"""What the demo needs and the core does not: rendered people, packaged clips, small networks and their fitting."""
