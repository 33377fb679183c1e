"""Certificates that are made or gathered on a computer and copied to a board."""
