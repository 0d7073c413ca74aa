"""The engine as an OpenAI-compatible API. Needs the extra `localr1[server]`."""
