"""Networks: backbones, temporal transformer, heads, and how published weights get into them."""
