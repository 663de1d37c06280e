"""Everything between a video file and a batch: decoding, records, the dataset, the input pipeline."""
