"""Web pages: what Berth serves to browsers."""
