"""What the services need of the outside world, one port a module; `headrace.adapters` holds the implementations."""
