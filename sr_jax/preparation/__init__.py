"""From folders of videos to a dataset of records: finding and checking the input, features, writing, resuming."""
