"""The versions of everything around this package, each in an environment of its own: `make test-matrix`."""
