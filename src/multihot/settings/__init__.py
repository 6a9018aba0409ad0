"""What may be set: kind and range of every setting, checked before data is read, compared when a run goes on."""
