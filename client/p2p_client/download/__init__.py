"""Being a downloader: one content from several sources into one file, every piece verified."""
