"""Multi-query associative recall (MQAR): a task whose every answer is a pair seen before, and models small enough to train in minutes."""
