"""From released PyTorch weights to our parameters and back, weight for weight."""
