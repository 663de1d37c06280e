"""What is trained and how: stages, state, loop, checkpoints, logs."""
