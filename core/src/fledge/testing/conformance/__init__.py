"""What every driver of a kind must do, as test classes: a plugin's tests subclass one and name the driver.

Each kind has a module and a class in it; the class's attributes are the few facts that the checks need to know, and
its docstring says which. docs/plugins.md shows one in use.
"""
