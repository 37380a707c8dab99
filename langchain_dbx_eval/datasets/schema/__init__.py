"""What a record looks like as a table row: names, validation, codecs."""
