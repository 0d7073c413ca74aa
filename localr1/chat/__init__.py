"""A conversation: template, context budget, store and session."""
