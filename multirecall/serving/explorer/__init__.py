"""The explorer: a page at `/explore` with what every path proposes, and what other settings would make of it."""
