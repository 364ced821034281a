"""Shared files as uploads and reports read them: ranges, pieces, many small ones at once."""
