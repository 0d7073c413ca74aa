"""The terminal app: screens and widgets; no decision is made here."""
