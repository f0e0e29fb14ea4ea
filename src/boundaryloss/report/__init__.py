"""Runs on disk -> tables and figures. Nothing here trains, or needs torch."""
