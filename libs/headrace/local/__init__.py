"""The laptop stack: starts, watches and stops the real servers and the services, each as a process of its own."""
