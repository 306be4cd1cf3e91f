"""Receives DICOM and answers queries and retrieves."""
