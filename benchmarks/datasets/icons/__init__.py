"""Icons: pictures and their words, and four tasks of which three have a known answer."""
