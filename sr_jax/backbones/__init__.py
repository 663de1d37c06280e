"""Video diffusion transformers, each with its codec and the names of its weights; see `base.py`."""
