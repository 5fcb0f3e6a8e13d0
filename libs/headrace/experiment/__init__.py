"""Whether signals and rounds do what they say: damage that is planted, and controls for what a round changes."""
