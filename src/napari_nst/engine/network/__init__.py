"""The VGG networks: weights, features and the way back to the pixels."""
