"""The report of a round: one HTML file that needs nothing but itself."""
