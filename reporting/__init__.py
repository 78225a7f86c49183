"""Verdicts on runs, read from the files in their workdirs."""
