"""Episodes of alerts: which are open, who was told of them, and by which channel."""
