"""The programs that start sandboxes; they run in a process of their own and import nothing else of Berth."""
