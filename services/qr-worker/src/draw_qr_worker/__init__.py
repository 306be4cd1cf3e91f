"""Executes jobs against remote DICOM nodes."""
