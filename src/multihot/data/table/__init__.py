"""What readers of listed images share: cells, columns, and the table of all rows that becomes a Manifest."""
