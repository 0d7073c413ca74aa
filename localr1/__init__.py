"""localr1: a private DeepSeek R1 machine in the terminal."""

__version__ = "0.1.0"
