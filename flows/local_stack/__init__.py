"""The servers of one machine: started, found again, stopped; in a folder, on the loopback interface."""
