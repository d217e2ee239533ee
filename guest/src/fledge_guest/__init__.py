"""Fledge's guest init."""
