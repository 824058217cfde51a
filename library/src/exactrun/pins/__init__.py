"""The pins of a project: the versions of a Colab runtime, with hashes, solved by uv.

Adding a library solves everything under what the runtime has, so that Colab, CI and a laptop get
the same versions, and Colab keeps those that its kernel has loaded. Moving a project to another
runtime does so under the other one's versions.
"""
