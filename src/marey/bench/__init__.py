"""Benches: whole comparisons by one command, each a table with its seeds, spread and conditions."""
