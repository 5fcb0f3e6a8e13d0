"""The pure heart: samples, dossiers, policies and decisions. No I/O, no clients."""
