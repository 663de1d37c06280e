"""One function per loss; per sample, unreduced over the batch, named after the paper's symbol."""
