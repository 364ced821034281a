"""Policies of a download, pure: which manifest to believe first, which pieces a stream takes."""
