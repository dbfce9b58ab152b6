"""Learned metrics of translation that a user names by a dotted path; nothing of dupo imports them."""
