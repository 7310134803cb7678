"""What the server tells of itself: metrics, a log line a request, traces."""
