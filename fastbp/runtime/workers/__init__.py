"""Workers of other processes, other machines, or of an executor of the user's."""
