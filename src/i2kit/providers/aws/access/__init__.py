"""How AWS is reached: credentials and region, clients, and errors in words."""
