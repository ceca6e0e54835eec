"""Policies that data are collected with: learned, kept as small files, mixed as D4RL mixes its datasets."""
