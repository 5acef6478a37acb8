"""How a result was made: record, copy, continue, save."""
