"""What an auditor can check again: histories, replays."""
