"""The gate through which DICOM files come: read without trust, judged by declared rules, told apart without their values."""
