"""Address management: networks, pools, and which server has which address."""
