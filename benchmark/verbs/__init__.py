"""What each verb of the command does, by what it is about; nothing heavy is imported here."""
