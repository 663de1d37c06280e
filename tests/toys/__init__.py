"""The worked examples of docs/extending.md: a part of each kind, in one file, named in configs by its dotted path."""
