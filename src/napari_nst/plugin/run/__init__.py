"""A run in a viewer: worker, session, steering."""
