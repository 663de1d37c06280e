"""The small pretrained models: their weights, what made them and how good they are, and how they become workdirs."""
