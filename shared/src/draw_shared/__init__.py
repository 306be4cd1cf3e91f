"""What the services of the DRAW DICOM suite have in common."""
