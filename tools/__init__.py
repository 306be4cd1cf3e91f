"""What runs the suite on one machine, and what writes the generated pages."""
