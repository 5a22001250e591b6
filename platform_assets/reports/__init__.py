"""What people open in a browser: stored pages and pictures through the policy, and a front page of all lines."""
