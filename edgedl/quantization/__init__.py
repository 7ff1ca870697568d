"""From a float artifact to a quantized one that pays."""
