"""Artifacts in a browser: its runtimes, the page that runs them, and the server of that page."""
