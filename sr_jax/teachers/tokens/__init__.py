"""Token teachers: feature teachers of what a frozen encoder sees in a clip, a module with `load(section)` each.

One that a config calls NAME writes the field `NAME_tokens`, `[T, Y, X, D]`: tokens of each latent frame, on the
teacher's own grid over the whole frame.
"""
