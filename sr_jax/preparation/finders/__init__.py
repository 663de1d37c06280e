"""What finds the people in a video: a module with `load(options, detector)` each."""
