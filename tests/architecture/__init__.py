"""What must hold of the sources themselves: layers, sizes, words, packages."""
