"""What has changed since a fit, and whether it matters."""
