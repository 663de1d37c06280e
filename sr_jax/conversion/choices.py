"""What a conversion can be told, without what carries it out: a command's help needs no JAX."""

DTYPES = ("float32", "bfloat16", "float16")
"""What parameters can be converted to."""
LORA_LAYOUTS = ("diffusers", "comfyui", "kohya", "original")
"""Whose names the files of LoRA can have that are written."""
MAX_SHARD_GB = 5.0
"""Weights in one new file, unless something else is said."""
