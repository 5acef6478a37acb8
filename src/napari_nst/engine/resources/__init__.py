"""Device, precision, threads, memory and tiles."""
