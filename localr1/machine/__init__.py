"""What the computer has: CPU, memory, GPUs, and what llama.cpp can use of them."""
