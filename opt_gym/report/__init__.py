"""The report: optimizers on a suite, beside the archive's: a page, pictures, tables."""
