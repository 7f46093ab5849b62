"""The problems of the family losg_tasks."""
