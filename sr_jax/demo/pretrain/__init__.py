"""Makes the pretrained models anew, from nothing, by the project's own commands."""
