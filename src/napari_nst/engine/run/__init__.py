"""A run from start to result: loop, control, checkpoints, replay."""
