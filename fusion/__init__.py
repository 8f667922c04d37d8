"""Fusion plug-ins, one file each, registered under the entry-point group `multirecall.fusion`."""
