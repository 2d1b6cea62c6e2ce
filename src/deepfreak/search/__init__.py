"""Searching for the settings of classifiers: `classical` (TPE over Table 8) and `bohb`."""
