"""How VMs are reached, from here and from each other: HAProxy, names, datagrams, who may call whom."""
