"""From a raw disk to an AMI of which only changed blocks travel, and what still needs each."""
