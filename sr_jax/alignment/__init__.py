"""What the denoising loss is joined by: objectives that align the transformer with what frozen teachers know."""
