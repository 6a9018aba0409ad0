"""What a file is, by how it begins: text, JSON, or what a tool has written."""
