"""What callers ask: resources, peers, holders. Visible peers only."""
