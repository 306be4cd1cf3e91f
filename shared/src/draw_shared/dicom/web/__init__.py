"""Objects as DICOMweb shows them: their data sets in JSON, and the positions of their frames."""
