"""Many runs from one start, each with something else: rows of a table, run, resumed, compared and reported."""
