"""For producers and trainers: submit samples, read what is admitted. Light: no FastStream, no torch."""
