"""What a sweep would take, before it runs; and making it fit into a time."""
