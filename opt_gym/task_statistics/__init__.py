"""What the tasks of TaskSet are and cost: a table, its measurement, its pictures."""
