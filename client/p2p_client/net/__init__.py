"""How a peer speaks to others: identity, trust, channels, the directory's messages and errors."""
