"""Images, labels and colours: arrays to tensors and back."""
