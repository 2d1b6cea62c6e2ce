"""The five labelled runs of CXIDB 76: labels, frames, results, scores; for cxidb76.py."""
