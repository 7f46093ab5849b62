"""What the site needs beside Sphinx: one file an extension."""
