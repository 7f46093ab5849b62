"""The figures of a report: pure functions of what was compared, one file a figure.

`every_figure.FIGURES` lists them; each gives drawings, which `house_style` makes files of.
"""
