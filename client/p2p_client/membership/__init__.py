"""Our life at the directory: registered, heartbeating, announcing what we share."""
