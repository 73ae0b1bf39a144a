"""Stacks and what runs of them: changed, watched, foreseen, remembered."""
