"""CogVideoX: network, autoencoder, sizes, and the names of its weights."""
