"""De-identified copies of DICOM files, for people who need them. The line itself never makes any: it refuses identified files."""
