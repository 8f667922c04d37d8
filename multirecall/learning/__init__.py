"""Learning from events that a fit holds out: the fusion, the paths that stay, and the settings of paths."""
