"""The engine's build: what is wrong with it, which one mends it, and putting that in its place."""
