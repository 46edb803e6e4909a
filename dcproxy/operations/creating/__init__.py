"""Creates, attaches and detaches: calls of EC2 whose response may be lost after their effect."""
