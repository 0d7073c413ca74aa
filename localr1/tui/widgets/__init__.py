"""What the screens are made of. A widget draws what it is given and posts what was asked of it."""
