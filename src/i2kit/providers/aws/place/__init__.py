"""Where deployments go: network and hosted zone, given, found or made, and what AWS alone knows."""
