"""Configs of all commands: `get_config(size)` returns an `ml_collections.ConfigDict`."""
