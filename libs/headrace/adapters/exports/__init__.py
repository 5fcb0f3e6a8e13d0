"""Dataset versions as folders that other tools read: files, a dataset card and Croissant metadata."""
