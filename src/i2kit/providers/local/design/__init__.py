"""What should run on this machine, and what to do next so that it does. Pure."""
