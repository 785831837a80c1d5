"""The engine, the registry and the options of docker run."""
