"""One offline HTML page that says what an experiment did and what came out; every number and verdict is computed."""
