"""Teachers: what turns a video into the features that supervise (depth, faces) or condition (text) the models."""
