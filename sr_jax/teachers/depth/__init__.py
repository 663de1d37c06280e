"""Depth teachers: a module with `load(section)` each."""
