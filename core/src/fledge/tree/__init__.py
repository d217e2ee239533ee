"""The image as a tree in memory: inodes, contents, the tar reader and the layer merge."""
