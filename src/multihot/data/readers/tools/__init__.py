"""Reads the exports of annotation tools; a file a tool."""
