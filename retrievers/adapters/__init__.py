"""Models of other libraries and systems as paths: a small file for each, which knows no other."""
