"""Classification of images: what is particular to files of medical images stands in `dicom`."""
