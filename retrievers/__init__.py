"""Retrievers, one file each, registered under the entry-point group `multirecall.retrievers`."""
