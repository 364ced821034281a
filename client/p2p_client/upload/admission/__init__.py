"""Who is let in: whose grant is good, and how many calls of one host are open. Pure."""
