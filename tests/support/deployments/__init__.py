"""What the tests of deployments need: the chart, rendered."""
