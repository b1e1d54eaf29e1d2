"""What runs in the process that imports the submission: call its code with given inputs, return what came out.

A probe takes and returns numbers, strings, None, lists and dicts of these, and CPU tensors. It imports HW3
late, so that a module that does not import fails its own exercises and no others. There is no formula of an
exercise here, no expected value and no verdict.
"""
