"""Running llama.cpp: an asyncio client and the worker process that hosts the library."""
