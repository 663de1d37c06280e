"""What clips are measured with, one metric a file; `base` says what a metric is."""
