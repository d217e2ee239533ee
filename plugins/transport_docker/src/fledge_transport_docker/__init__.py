"""Docker-daemon: image references."""
