"""A model that runs elsewhere, behind an OpenAI-compatible API, as an engine like any other."""
