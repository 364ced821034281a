"""Where a peer can be reached: what it offers, what dialling it back has shown, who is told."""
