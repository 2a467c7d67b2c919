"""The console: server-side pages for the centre, for markets and for the sandbox handset."""
