"""Numbers and label maps -> one page that people would rather look at than read."""
