"""What training survives, done for real on tiny runs; each file is one bar, with its figures in results/reliability."""
