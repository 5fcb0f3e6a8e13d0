"""What a round keeps in files and stores."""
