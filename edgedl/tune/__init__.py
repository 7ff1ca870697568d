"""The search for the cheapest quantization within an accuracy budget."""
