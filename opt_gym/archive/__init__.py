"""The archive: what hand-designed optimizers do on the tasks of the judge's suites.

A user who judges an optimizer runs only his own. One file a task, `envs_registry/archive/`
holds those that come with the package, the user's cache folder what he measured himself:
on other data, or of his own tasks (`opt-gym archive`).
"""
