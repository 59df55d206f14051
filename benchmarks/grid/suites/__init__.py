"""The suites that ship by name, one YAML file each."""
