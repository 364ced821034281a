"""What callers send, judged: names, announced items, criteria of queries."""
