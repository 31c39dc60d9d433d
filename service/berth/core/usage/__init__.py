"""What tenants use: the rules that count it, its estimated cost, and budgets of keys."""
