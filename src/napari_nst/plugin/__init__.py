"""napari and Qt: thin, on top of the engine."""
