"""The torch side: what was learned or decided, carried back into modules."""
