"""Policies of a download, pure: which manifest is believed first, who gives which pieces."""
