"""Who calls: access keys, accounts with passwords, and the credentials of their profiles."""
