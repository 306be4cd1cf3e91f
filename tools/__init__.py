"""Programs that run the suite on one machine, and generators of pages."""
