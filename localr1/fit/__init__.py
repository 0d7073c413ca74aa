"""What fits a machine and how well it runs: pure functions."""
