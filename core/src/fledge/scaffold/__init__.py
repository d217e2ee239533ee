"""New plugins: `fledge plugin new` makes a package that installs, is found, and says what is left to write."""
