"""What is missing or amiss before a run begins: `machine` looks at the machine, `data` at the rows of tasks."""
