"""The folder in which an engine lives: its versions, its journal, its lock."""
