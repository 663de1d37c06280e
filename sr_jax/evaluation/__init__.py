"""Sampling held-out clips, scoring them with judges that never supervised, and reporting what came out."""
