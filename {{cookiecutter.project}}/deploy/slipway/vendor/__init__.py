"""Copies of libraries, unchanged, for Pythons on which nothing else may be installed.

- tomli 2.5.0 (MIT licence, in tomli/LICENSE): https://github.com/hukkin/tomli
  Its pure-Python files read TOML on Python 3.9 and 3.10; shared/toml.py uses it only there.
"""
