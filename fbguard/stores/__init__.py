"""Stores that several guards, processes or machines share."""
