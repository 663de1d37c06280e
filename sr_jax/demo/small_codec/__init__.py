"""The small learned video codec."""
