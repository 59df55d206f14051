raise OSError("a library does not load")
