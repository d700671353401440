"""What the admin pages of every app are made with, once. It knows no app; any app may import it."""
