"""Policies of a download, pure: which manifest is believed first, which pieces a stream takes."""
