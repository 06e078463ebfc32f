"""What the dashboards are made of: one module a dashboard, and what they share."""
