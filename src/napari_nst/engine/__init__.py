"""Style transfer itself: torch only, no viewer, and never a print."""
