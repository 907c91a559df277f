"""Pictures of a report: what is kept of each array while it is judged, and how it is drawn."""
