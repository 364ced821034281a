"""What of a folder comes before all of it is listed."""
