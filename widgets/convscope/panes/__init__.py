"""The panes: what an instrument shows, each a class with its traits and what it answers."""
