"""Models: specs, training, the files of a trained model."""
