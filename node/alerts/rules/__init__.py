"""Whether somebody is alerted, who, and when: pure decisions on values."""
