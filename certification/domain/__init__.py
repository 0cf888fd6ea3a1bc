"""What a certificate means, without a framework: when it is earned, how it is named, how it is counted."""
