"""napari layers: pixels, place, intensities and labels."""
