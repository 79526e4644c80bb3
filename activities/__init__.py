"""Actions, one file each, by cloud; a file's path is the action's id."""
