"""Scoring generated clips with judges that never supervised, and reporting what came out."""
