"""Style and content losses, and their gradients at an image."""
