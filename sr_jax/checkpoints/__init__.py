"""What runs and imports leave on disk, and the models built from their configs."""
