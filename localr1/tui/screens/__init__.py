"""The screens: each one step of the way from nothing to a running chat."""
