"""What a person asks for, as questions to the directory: searches, TARGETs, trees, watches."""
