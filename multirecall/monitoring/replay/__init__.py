"""What another fusion would have made of logged requests, and how good it would have been."""
