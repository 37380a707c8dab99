"""`evaluate` beside what people use today: its worker needs nothing of this project."""
