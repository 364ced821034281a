"""What all measurements share: processes and what they cost, scratch files, the report."""
