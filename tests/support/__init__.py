"""Stand-ins, scenario builders and server starters that several test modules share."""
